import pytest

from ssl_swin.pretrained.export.misfits import (
    Stage,
    is_swin,
    largest_window,
    stages_of,
    unlike_a_swin,
    unlike_windows,
)

SIZES = {"patch_size": 4, "embed_dim": 16, "num_heads": (1, 2)}
PAPER = SIZES | {"name": "a", "img_size": (192, 192), "window_size": 6, "depths": (2, 2, 18, 2)}


@pytest.mark.parametrize(
    ("img_size", "patch_size"), [((224, 192), 4), ((60, 100), 2), ((40, 40), 4)]
)
@pytest.mark.parametrize("window", [3, 7, (7, 3)])
def test_stages_are_those_of_the_network(tiny, img_size, patch_size, window):
    encoder = tiny(img_size=img_size, patch_size=patch_size, window_size=window)
    found = stages_of(encoder.architecture())
    assert [stage.grid for stage in found] == [stage.grid for stage in encoder.backbone.layers]
    tables = encoder.position_tables().values()  # two blocks each
    assert [one.window for one in found for _ in range(2)] == list(tables)


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


@pytest.mark.parametrize(
    ("window", "largest"), [(6, (6, 6)), (100, (48, 48)), ((3, 6, 12, 6), (12, 12))]
)
def test_the_largest_window_is_one_that_a_stage_has(window, largest):
    assert largest_window(PAPER | {"window_size": window}) == largest


def test_both_positions_are_there_where_places_can_be_embedded():
    assert list(unlike_a_swin(PAPER | {"position": "both"}, has_embedding=True)) == []
    assert list(unlike_a_swin(PAPER | {"position": "none"}, has_embedding=True)) != []


def test_what_is_no_swin_is_named():
    toy = {"name": "toy", "img_size": (64, 64), "in_chans": 3}
    assert not is_swin(toy)
    assert list(unlike_a_swin(toy)) == ["model.name=toy, which is no Swin"]
    assert list(unlike_windows(toy, lambda *_: "never")) == []


def test_a_window_that_does_not_divide_is_named_with_its_stage():
    told = list(unlike_windows(PAPER | {"window_size": 7}, lambda *_: None))
    assert told == ["model.window_size=7, which does not divide the 48 x 48 tokens of stage 1"]


def test_who_asks_is_told_each_stage_and_the_largest_window():
    seen = []
    list(unlike_windows(PAPER | {"window_size": 12}, lambda *given: seen.append(given)))
    assert [largest for _, largest in seen] == [(12, 12)] * 4
    assert seen[-1][0] == Stage(4, (6, 6), (6, 6))


def test_windows_of_two_sides_are_what_they_are():
    sizes = {
        "depths": [2, 2],
        "patch_size": 4,
        "img_size": [40, 64],
        "window_size": [[5, 8], [5, 4]],
    }
    assert [stage.window for stage in stages_of(sizes)] == [(5, 8), (5, 4)]
    assert largest_window(sizes) == (5, 8)
