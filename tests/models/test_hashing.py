import torch

from ssl_swin.models.hashing import image_keys, mix

WORD = (1 << 64) - 1


def splitmix64(word):
    """The finaliser as it was published, in whole numbers."""
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & WORD
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & WORD
    return word ^ (word >> 31)


def test_the_hash_is_splitmix64():
    words = torch.randint(-(2**63), 2**63 - 1, (200,), generator=torch.Generator().manual_seed(0))
    words = torch.cat([words, torch.tensor([0, -1, 2**63 - 1, -(2**63)])])
    for word, found in zip(words.tolist(), mix(words).tolist(), strict=True):
        assert found & WORD == splitmix64(word & WORD)


def test_the_key_of_an_image_depends_on_all_it_is_made_of_and_on_no_other_image():
    index = torch.arange(500)
    first = image_keys(1, 2, 3, index)
    assert len(first.unique()) == 500
    assert torch.equal(image_keys(1, 2, torch.full((493,), 3), index[7:]), first[7:])
    for other in (
        image_keys(2, 2, 3, index),
        image_keys(1, 3, 3, index),
        image_keys(1, 2, 4, index),
    ):
        assert not torch.isin(other, first).any()
    assert not torch.isin(image_keys(1, 2**63 - 1, 3, index), first).any()
