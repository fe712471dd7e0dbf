import pytest

from ssl_swin.pretrained.export.misfits import unlike_a_swin
from ssl_swin.pretrained.geometry import is_swin, stages_of, unlike_windows

SIZES = {"patch_size": 4, "embed_dim": 16, "num_heads": (1, 2)}
PAPER = SIZES | {"name": "a", "img_size": (192, 192), "window_size": 6, "depths": (2, 2, 18, 2)}


def test_the_windows_of_the_paper_are_what_every_library_has():
    assert [one.window for one in stages_of(PAPER)] == [(6, 6)] * 4
    assert [*unlike_a_swin(PAPER), *unlike_windows(PAPER, lambda *_: None)] == []


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"shift": "none"}, ["model.shift=none"]),
        ({"position": "both"}, ["model.position=both"]),
        ({"position": "absolute", "mixer": "mlp"}, ["model.position=absolute", "model.mixer=mlp"]),
        ({"padding": "masked"}, []),  # nothing is padded
        ({"padding": "masked", "window_size": 7}, ["model.padding=masked"]),
    ],
)
def test_a_switch_is_named(more, told):
    assert list(unlike_a_swin(PAPER | more)) == told


def test_both_positions_are_there_where_places_can_be_embedded():
    assert list(unlike_a_swin(PAPER | {"position": "both"}, has_embedding=True)) == []
    assert list(unlike_a_swin(PAPER | {"position": "none"}, has_embedding=True)) != []


def test_what_is_no_swin_is_named():
    toy = {"name": "toy", "img_size": (64, 64), "in_chans": 3}
    assert not is_swin(toy)
    assert list(unlike_a_swin(toy)) == ["model.name=toy, which is no Swin"]
    assert list(unlike_windows(toy, lambda *_: "never")) == []
