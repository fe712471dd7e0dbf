from ssl_swin.config.run import Recipe
from ssl_swin.training.quirks import RECIPES, Quirks


def test_official_keeps_all_quirks_and_corrected_none():
    assert {"official": Quirks(), "corrected": Quirks(*[False] * len(Quirks()))} == RECIPES
    assert all(Quirks())
    assert {*RECIPES} == {*Recipe.__args__}
