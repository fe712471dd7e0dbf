import pytest
import torch

from ssl_swin.errors import UserError
from ssl_swin.pretrained.channels import CHANNEL_RULES, fit_channels
from ssl_swin.pretrained.load import load_encoder
from ssl_swin.pretrained.mismatch import PretrainedMismatch
from ssl_swin.pretrained.open import open_encoder

PATCHES = "backbone.patch_embed.proj.weight"
NUMBERS = [1, 2, 3, 4, 7, 13]


@pytest.mark.parametrize("rule", ["repeat", "average"])
@pytest.mark.parametrize("old", NUMBERS)
@pytest.mark.parametrize("new", NUMBERS)
def test_an_image_of_alike_channels_makes_the_same_tokens(rule, old, new):
    kernel = torch.randn(8, old, 2, 2, dtype=torch.float64)
    state, _ = fit_channels({PATCHES: kernel}, new, rule)
    assert state[PATCHES].shape == (8, new, 2, 2)
    torch.testing.assert_close(state[PATCHES].sum(1), kernel.sum(1))


def made(rule, new, values):
    kernel = torch.tensor(values).view(1, -1, 1, 1)
    return fit_channels({PATCHES: kernel}, new, rule)[0][PATCHES].flatten().tolist()


def test_each_rule_does_what_it_says():
    assert made("repeat", 6, [2.0, 4.0, 6.0]) == [1, 2, 3, 1, 2, 3]
    assert made("repeat", 4, [2.0, 4.0, 6.0]) == [1, 4, 6, 1]
    assert made("repeat", 2, [2.0, 4.0, 6.0]) == [8, 4]
    assert made("repeat", 3, [6.0]) == [2, 2, 2]
    assert made("average", 4, [2.0, 4.0, 6.0]) == [3, 3, 3, 3]
    assert made("zero", 5, [2.0, 4.0, 6.0]) == [2, 4, 6, 0, 0]
    assert made("zero", 2, [2.0, 4.0, 6.0]) == [2, 4]


def test_as_many_channels_are_passed_on_bit_for_bit_and_others_are_told():
    state = {PATCHES: torch.randn(8, 3, 2, 2).half(), "x": torch.ones(1)}
    same, told = fit_channels(state, 3, "repeat")
    assert same == state
    assert told == ()
    new, told = fit_channels(state, 5, "zero")
    assert new[PATCHES].dtype == torch.float16
    assert new["x"] is state["x"]
    assert told == ("channels 3 -> 5, by zero: the first as they are, what is beyond them 0",)


def test_what_is_no_rule_or_has_no_patches_is_refused():
    with pytest.raises(PretrainedMismatch, match="must be one of repeat, average, zero"):
        fit_channels({PATCHES: torch.ones(8, 3, 2, 2)}, 5, "copy")
    with pytest.raises(PretrainedMismatch, match="which these weights have not"):
        fit_channels({"x": torch.ones(1)}, 5, "zero")


@pytest.mark.parametrize("rule", CHANNEL_RULES)
def test_an_encoder_goes_over_to_other_channels(run, rule):
    folder, encoder = run
    opened = open_encoder(folder, in_chans=6, encoder_channels=rule)
    assert opened.encoder.in_chans == 6
    (remark,) = opened.report.remarks
    assert remark.startswith(f"channels 3 -> 6, by {rule}: ")
    images = torch.randn(2, 3, 64, 64)
    more = {"repeat": images, "average": images, "zero": torch.randn(2, 3, 64, 64)}[rule]
    images = images.mean(1, keepdim=True).expand(-1, 3, -1, -1) if rule == "average" else images
    more = images if rule == "average" else more
    with torch.no_grad():
        found = opened.encoder.eval()(torch.cat([images, more], 1))
        torch.testing.assert_close(found, encoder(images), rtol=0, atol=1e-5)


def test_other_channels_need_a_rule_and_their_own_mean_and_deviation(run):
    with pytest.raises(PretrainedMismatch, match="in_chans is 1 in the model and 3"):
        load_encoder(run[0], in_chans=1, mean=[0.5], std=[0.2])
    with pytest.raises(UserError, match="for each of its 1 channels"):
        load_encoder(run[0], in_chans=1, encoder_channels="average")
    loaded = load_encoder(run[0], in_chans=1, encoder_channels="repeat", mean=[0.5], std=[0.2])
    assert (loaded.card.mean, loaded.preprocess.std, loaded.in_chans) == ((0.5,), (0.2,), 1)
