import pytest

from ssl_swin.config.twice import keys_twice


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("", []),
        ("a: 1\nb: {a: 2}\nc: [{a: 1}, {a: 2}]\n", []),
        ("a: 1\nb: 2\na: 1\n", ["a"]),
        ("mask: {ratio: 1, ratio: 2}\n", ["mask.ratio"]),
        ("heads: [{stage: 1}, {stage: 1, loss: x, stage: 2}]\n", ["heads[1].stage"]),
        ("[{stage: 1, stage: 2}]", ["[0].stage"]),
        ("base: &base {a: 1}\nother: {<<: *base, a: 2}\n", []),
    ],
)
def test_each_key_that_stands_twice_is_named_by_its_place(text, places):
    assert [*keys_twice(text)] == places
