import pytest
import safetensors.torch
import torch

from ssl_swin.models.simmim import SimMIM
from ssl_swin.models.targets.pixels import pixels
from ssl_swin.pretrained.found import find
from ssl_swin.pretrained.mismatch import PretrainedMismatch
from ssl_swin.pretrained.open import find_weights, open_encoder
from ssl_swin.pretrained.timm import TIMM, to_timm


def timm_names(encoder):
    return to_timm(encoder.state_dict()) | {"head.fc.weight": torch.zeros(2, 32)}


def official_names(encoder):
    state = to_timm(encoder.state_dict())
    named = {key.replace("layers.1.down", "layers.0.down"): value for key, value in state.items()}
    index = {"layers.0.blocks.0.attn.relative_position_index": torch.zeros(1)}
    return named | index | {"head.weight": torch.zeros(2, 32)}


def simmim_names(encoder):
    state = {f"encoder.{key}": value for key, value in official_names(encoder).items()}
    return state | {
        "encoder.mask_token": encoder.mask_token.detach(),
        "decoder.0.weight": torch.zeros(1),
    }


def our_names(encoder):
    return encoder.state_dict()


def before(*words):
    return lambda state: {".".join((*words, key)): value for key, value in state.items()}


def under(*keys):
    def wrap(state):
        for key in reversed(keys):
            state = {"epoch": 3, key: state}
        return state

    return wrap


def compiled_inside(state):
    return {key.replace("blocks.0.", "blocks.0._orig_mod."): value for key, value in state.items()}


def lightning(state):
    step = {"step": torch.zeros(1), "exp_avg": torch.zeros(3)}
    named = before("network", "encoder")(state) | {"network.head.weight": torch.zeros(1)}
    return {
        "state_dict": named,
        "optimizer_states": [{"state": {0: step}}],
        "optimizer": {"state": {0: step}},
        "hyper_parameters": {"lr": 1e-3},
    }


def averaged(state):
    worse = {key: value + 1 for key, value in state.items()}
    return {"state_dict": worse, "state_dict_ema": before("module")(state)}


NAMES = [timm_names, official_names, simmim_names, our_names]
WRAPPERS = {
    "bare": lambda state: state,
    "ddp": before("module"),
    "compiled": before("_orig_mod"),
    "compiled ddp": before("_orig_mod", "module"),
    "compiled blocks": compiled_inside,
    "model": under("model"),
    "state_dict": under("state_dict"),
    "nested": under("checkpoint", "model"),
    "ddp in state_dict": lambda state: under("state_dict")(before("module")(state)),
    "lightning": lightning,
    "compiled lightning": lambda state: lightning(before("_orig_mod")(state)),
    "lightning encoder": lambda state: under("state_dict")(before("encoder")(state)),
    "lightning model": lambda state: under("state_dict")(before("model", "module")(state)),
    "average": averaged,
}


@pytest.mark.parametrize("names", NAMES)
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_an_encoder_is_found_in_every_wrapper(tiny, tmp_path, names, wrapper):
    encoder = tiny(seed=1, img_size=32).eval()
    torch.save(WRAPPERS[wrapper](names(encoder)), tmp_path / "c.ckpt")
    opened = open_encoder(tmp_path / "c.ckpt")
    has_token = names in (simmim_names, our_names)
    assert opened.report.missing == (() if has_token else ("mask_token",))
    assert opened.encoder.architecture() == encoder.architecture()
    images, mask = torch.randn(2, 3, 32, 32), None
    if has_token:
        mask = torch.eye(8).bool().expand(2, -1, -1)
    with torch.no_grad():
        assert torch.equal(opened.encoder.eval()(images, mask), encoder(images, mask))


@pytest.mark.parametrize("names", NAMES)
def test_an_encoder_is_found_in_safetensors(tiny, tmp_path, names):
    encoder = tiny(seed=1, img_size=32)
    state = before("model", "module")(names(encoder))
    safetensors.torch.save_file(state, tmp_path / "m.safetensors")
    found = open_encoder(tmp_path / "m.safetensors").encoder.state_dict()
    expected = encoder.state_dict()
    assert all(torch.equal(found[key], expected[key]) for key in expected if key != "mask_token")


def test_what_was_found_and_left_out_is_told(tiny, tmp_path):
    torch.save(lightning(timm_names(tiny())), tmp_path / "c.ckpt")
    found = find_weights(tmp_path / "c.ckpt")
    num = len(to_timm(tiny().state_dict()))
    assert found.told == (
        f"timm's Swin under 'state_dict.network.encoder.', {num} tensors taken, 4 left out ("
        "state_dict.network.encoder.head.fc.weight, state_dict.network.head.weight, "
        "optimizer.state.0.step, optimizer.state.0.exp_avg)"
    )
    assert found.mean is not None
    torch.save(our_names(tiny()), tmp_path / "c.ckpt")
    found = find_weights(tmp_path / "c.ckpt")
    assert found.told == f"our Swin without a card, {num + 1} tensors taken, none left out"
    assert found.mean is None


def test_our_own_checkpoint_gives_its_encoder(tiny, tmp_path):
    network = SimMIM(tiny(seed=1, img_size=32), 8, pixels())
    module = torch.nn.ModuleDict({"network": network})
    torch.save({"model": module.state_dict(), "step": 7}, tmp_path / "last.ckpt")
    opened = open_encoder(tmp_path / "last.ckpt")
    found = opened.encoder.state_dict()
    assert opened.report.missing == ()
    assert all(torch.equal(found[key], v) for key, v in network.encoder.state_dict().items())


def test_several_swins_are_refused_by_name(tiny):
    state = timm_names(tiny())
    with pytest.raises(PretrainedMismatch, match="there are 2 of timm's Swin in the file"):
        find([*before("student")(state), *before("teacher")(state)], TIMM)
    with pytest.raises(PretrainedMismatch, match="two tensors of the file are one"):
        find([*state, "module.norm.weight"], TIMM)


@pytest.mark.parametrize(
    "names",
    [
        [],
        ["conv1.weight"],
        ["patch_embed.proj.weight", "blocks.0.attn.qkv.weight"],
        ["patch_embed.proj.weight", "layers.0.blocks.0.attn.cpb_mlp.0.weight"],
        ["my_patch_embed.proj.weight", "layers.0.blocks.0.attn.relative_position_bias_table"],
    ],
)
def test_other_networks_are_no_swin(names):
    assert find(names, TIMM) is None


def test_what_is_not_a_part_of_a_swin_is_refused_not_dropped(tiny, tmp_path):
    state = timm_names(tiny()) | {"layers.0.blocks.0.attn.extra": torch.zeros(3)}
    torch.save(state, tmp_path / "c.pth")
    with pytest.raises(PretrainedMismatch, match=r"1 unknown: backbone\.layers\.0\..*extra"):
        open_encoder(tmp_path / "c.pth")
