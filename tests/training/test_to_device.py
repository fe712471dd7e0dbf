import pytest
import torch

from ssl_swin.training.to_device import Copies, moved

BATCH = {
    "image": torch.arange(2 * 3 * 4 * 4, dtype=torch.uint8).view(2, 3, 4, 4),
    "index": torch.tensor([5, 7]),
    "erased": torch.tensor([[0, 0, 2, 2], [1, 1, 3, 3]]),
}


def test_what_must_be_known_here_stays_here():
    there = moved(BATCH, lambda value: value.to("meta"))
    assert {name: value.device.type for name, value in there.items()} == {
        "image": "meta",
        "index": "meta",
        "erased": "cpu",
        "ids": "cpu",
    }
    assert there["ids"] is BATCH["index"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_copy_is_whole_before_it_is_used_while_another_is_on_its_way():
    device = torch.device("cuda", 0)
    copies, busy = Copies(device), torch.randn(4096, 4096, device=device)
    sizes = [torch.full((64, 3, 224, 224), n, dtype=torch.uint8).pin_memory() for n in range(8)]
    coming, sums = None, []
    for image in [*sizes, None]:
        ready, coming = coming, None
        if image is not None:
            coming = copies.begin({"image": image, "index": torch.arange(64)})
        if ready is None:
            continue
        batch = copies.end(ready)
        assert batch["image"].is_cuda
        assert not batch["ids"].is_cuda
        busy = busy @ busy * 1e-4
        sums.append(batch["image"].long().sum())
        del batch
    assert [int(one) for one in sums] == [n * sizes[0].numel() for n in range(8)]
