import pytest
import torch

from ssl_swin.errors import UserError
from ssl_swin.models.swin import SwinEncoder

TINY = {
    "img_size": 32,
    "window_size": 4,
    "embed_dim": 16,
    "depths": (2, 2),
    "num_heads": (2, 4),
}


def tiny(**choices):
    return SwinEncoder("swin_tiny_patch4_window7_224", **TINY, **choices)


@pytest.mark.parametrize(
    "choices",
    [
        {"shift": "none"},
        {"shift": "padded"},
        {"position": "absolute"},
        {"position": "both"},
        {"position": "none"},
        {"mixer": "mlp"},
        {"mixer": "mlp", "shift": "none", "position": "absolute"},
        {"mixer": "mlp", "padding": "masked"},
        {"padding": "masked"},
    ],
)
def test_switches_belong_to_the_architecture_and_each_is_another_network(choices):
    torch.manual_seed(0)
    encoder = tiny(**choices)
    assert choices.items() <= encoder.architecture().items()
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(rebuilt(encoder)(images), encoder(images))
    layers = {encoder.layer_of(name) for name, _ in encoder.named_parameters()}
    assert layers == set(range(encoder.num_layers + 2))
    assert encoder.no_decay() <= {name for name, _ in encoder.named_parameters()}
    has_tables = choices.get("position", "relative") in ("relative", "both")
    assert bool(encoder.position_tables()) == (has_tables and "mixer" not in choices)


def test_a_swin_is_what_no_switch_changes():
    usual = {"shift": "cyclic", "position": "relative", "mixer": "attention", "padding": "attended"}
    assert tiny(**usual).architecture() == tiny().architecture()
    assert not usual.keys() & tiny().architecture().keys()
    assert tiny(implementation="timm").architecture() == tiny().architecture()


def test_an_mlp_is_the_same_however_places_beyond_the_image_are_called():
    sizes = TINY | {"window_size": 3}
    torch.manual_seed(0)
    one, other = (
        SwinEncoder("swin_tiny_patch4_window7_224", **sizes, mixer="mlp", padding=padding)
        for padding in ("attended", "masked")
    )
    other.load_state_dict(one.state_dict())
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(one(images), other(images))
        assert torch.equal(one(images), rebuilt(one)(images))


def rebuilt(encoder):
    again = SwinEncoder(**encoder.architecture())
    assert again.architecture() == encoder.architecture()
    again.load_state_dict(encoder.state_dict())
    return again


@pytest.mark.parametrize(
    ("choices", "told"),
    [
        ({"shift": "left"}, "shift='left' must be one of cyclic, padded, none"),
        ({"mixer": "mlp", "shift": "cyclic"}, "mixer=mlp does not go with shift=cyclic"),
        ({"mixer": "mlp", "position": "both"}, "does not go with position=both"),
        ({"implementation": "timm", "position": "none"}, "timm has no Swin with position=none"),
        ({"implementation": "timm", "mixer": "mlp"}, "timm has no Swin with mixer=mlp; leave"),
        ({"heads": 3}, "a Swin has no heads; it takes only patch_size"),
    ],
)
def test_what_does_not_go_together_is_refused(choices, told):
    with pytest.raises(UserError, match=told):
        tiny(**choices)
