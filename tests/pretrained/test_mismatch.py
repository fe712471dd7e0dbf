import pytest
import torch

from ssl_swin.errors import UserError
from ssl_swin.pretrained.mismatch import PretrainedMismatch, check_state

EXPECTED = {f"layer.{i}": torch.zeros(2, 3) for i in range(7)}


def test_what_fits_is_accepted_with_what_may_be_missing():
    assert check_state(EXPECTED, EXPECTED, ()) == ()
    given = {name: value for name, value in EXPECTED.items() if name != "layer.3"}
    assert check_state(given, EXPECTED, {"layer.3", "layer.4"}) == ("layer.3",)


def test_all_that_does_not_fit_is_told_at_once():
    given = {"layer.0": torch.zeros(3, 2), "other": torch.zeros(1)}
    with pytest.raises(PretrainedMismatch) as refused:
        check_state(given, EXPECTED, {"layer.1"})
    told = str(refused.value)
    assert "5 missing: layer.2, layer.3, layer.4, layer.5, layer.6;" in told
    assert "1 unknown: other;" in told
    assert "1 of another shape: layer.0 (3, 2) instead of (2, 3);" in told
    assert "allowed to be missing: layer.1;" in told
    assert isinstance(refused.value, UserError)


def test_of_many_names_the_first_are_told():
    with pytest.raises(PretrainedMismatch, match=r"7 missing: (layer\.\d, ){5}\.\.\.; allowed"):
        check_state({}, EXPECTED, ())


@pytest.mark.parametrize("number", [float("inf"), float("nan")])
def test_weights_that_are_not_finite_are_named(number):
    broken = torch.zeros(2, 3)
    broken[1, 2] = number
    with pytest.raises(PretrainedMismatch, match=r"1 of the weights hold .* none: layer\.4; give"):
        check_state(EXPECTED | {"layer.4": broken}, EXPECTED, ())
