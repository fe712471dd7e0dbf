import numpy as np
import pytest
import torch
from scipy.interpolate import CubicSpline
from scipy.optimize import brentq

from ssl_swin.pretrained.mismatch import PretrainedMismatch
from ssl_swin.pretrained.window import resize_embedding, resize_table, resize_tables


@pytest.mark.parametrize("window_size", [1, 4, 7])
def test_a_table_of_the_right_size_is_passed_on_bit_for_bit(window_size):
    table = torch.randn((2 * window_size - 1) ** 2, 3)
    assert resize_table(table, window_size) is table


@pytest.mark.parametrize(("old", "new"), [(6, 7), (12, 14), (7, 12), (6, 12), (4, 6), (12, 6)])
def test_a_flat_table_stays_flat_and_the_centre_stays_the_centre(old, new):
    flat = resize_table(torch.full(((2 * old - 1) ** 2, 2), 0.3), new)
    assert flat.shape == ((2 * new - 1) ** 2, 2)
    torch.testing.assert_close(flat, torch.full_like(flat, 0.3))
    table = torch.randn((2 * old - 1) ** 2, 2)
    resized = resize_table(table, new)
    centre, old_centre = (2 * new - 1) ** 2 // 2, (2 * old - 1) ** 2 // 2
    torch.testing.assert_close(resized[centre], table[old_centre])
    assert resized.dtype == torch.float32


@pytest.mark.parametrize(("old", "new"), [(6, 7), (12, 14)])
def test_the_outermost_positions_meet(old, new):
    table = torch.randn((2 * old - 1) ** 2, 1).view(2 * old - 1, 2 * old - 1)
    resized = resize_table(table.reshape(-1, 1), new).view(2 * new - 1, 2 * new - 1)
    for row, col in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        torch.testing.assert_close(resized[row, col], table[row, col], rtol=0, atol=1e-3)


def test_mirrored_tables_stay_mirrored():
    table = torch.randn(11, 11)
    plain = resize_table(table.reshape(-1, 1), 7).view(13, 13)
    mirrored = resize_table(table.flip(1).reshape(-1, 1), 7).view(13, 13)
    turned = resize_table(table.T.reshape(-1, 1), 7).view(13, 13)
    torch.testing.assert_close(plain.flip(1), mirrored, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(plain.T, turned, rtol=1e-4, atol=1e-5)


def test_only_tables_change_and_only_where_the_window_does(tiny):
    state = tiny(img_size=64, window_size=4).state_dict()
    target = tiny(img_size=96, window_size=6)
    resized = resize_tables(state, target).state
    for key, tensor in state.items():
        if key.endswith("relative_position_bias_table"):
            assert resized[key].shape == target.state_dict()[key].shape
        else:
            assert resized[key] is tensor
    again = resize_tables(state, tiny()).state
    assert all(again[key] is tensor for key, tensor in state.items())


def test_tables_that_cannot_be_resized_are_refused(tiny):
    state = tiny().state_dict()
    with pytest.raises(PretrainedMismatch, match="same number of heads"):
        resize_tables(state, tiny(window_size=8, num_heads=(4, 8)))
    with pytest.raises(PretrainedMismatch, match="does not belong to a square window"):
        resize_table(torch.zeros(7 * 9, 2), 5)


def test_an_mlp_does_not_go_over_to_other_windows(tiny):
    state = tiny(mixer="mlp").state_dict()
    resize_tables(state, tiny(mixer="mlp", img_size=128))
    for change in ({"window_size": 8}, {"img_size": 16}):
        with pytest.raises(PretrainedMismatch, match="mixes windows of 16 places, and here"):
            resize_tables(state, tiny(mixer="mlp", **change))


def test_an_embedding_of_places_is_resized_with_the_image():
    ramp = torch.linspace(0, 1, 8).repeat(8, 1).reshape(1, 64, 1)  # from left to right
    wide = resize_embedding(ramp, (8, 16))
    assert wide.shape == (1, 128, 1)
    rows = wide.view(8, 16)
    torch.testing.assert_close(rows, rows[:1].expand(8, 16))
    assert (rows[0].diff() > 0).all()
    with pytest.raises(PretrainedMismatch, match="48 places does not belong to a square image"):
        resize_embedding(torch.zeros(1, 48, 1), (8, 8))


def test_an_encoder_with_absolute_positions_goes_over_to_another_image_size(tiny):
    small, large = (tiny(img_size=side, position="both") for side in (64, 96))
    moved = resize_tables(small.state_dict(), large).state
    assert moved["backbone.absolute_pos_embed"].shape == (1, 24 * 24, small.embed_dim)
    large.load_state_dict(moved)
    again = resize_tables(large.state_dict(), large).state
    assert again["backbone.absolute_pos_embed"] is not None
    assert torch.equal(again["backbone.absolute_pos_embed"], large.backbone.absolute_pos_embed)


def test_tables_go_over_to_windows_of_two_sides(tiny):
    state = tiny(img_size=64, window_size=4).state_dict()
    encoder = tiny(img_size=(48, 80), window_size=((3, 5), (3, 5)))
    resized = resize_tables(state, encoder).state
    for key, (rows, cols) in encoder.position_tables().items():
        assert resized[key].shape == ((2 * rows - 1) * (2 * cols - 1), state[key].shape[1])
    encoder.load_state_dict(resized)


@pytest.mark.parametrize("window", [(4, 4), (3, 5), (4, 7), (6, 4)])
def test_each_side_is_resized_as_that_of_a_square_window(window):
    rows, cols = window
    side = torch.linspace(-1, 1, 7) ** 2
    along_rows = side[:, None].expand(7, 7).reshape(49, 1)
    found = resize_table(along_rows, window).view(2 * rows - 1, 2 * cols - 1)
    square = resize_table(along_rows, rows).view(2 * rows - 1, 2 * rows - 1)
    torch.testing.assert_close(found[:, cols - 1], square[:, rows - 1])
    torch.testing.assert_close(found, found[:, :1].expand_as(found), atol=1e-5, rtol=1e-5)


def beyond(ratio, num, reach):
    """How far the last of the old positions would stand beyond the edge of the new window."""
    return sum(ratio**power for power in range(num)) - reach


def halved(num, reach):
    """The ratio between steps, to 1e-6, as the official code looks for it."""
    low, high = 1.01, 1.5
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (low, middle) if beyond(middle, num, reach) > 0 else (middle, high)
    return middle


def official_axis(old, new):
    """Where the old positions stand, 1, 1 + q, 1 + q + q^2, ... to both sides of 0, and new ones.

    These are whole numbers; what lies beyond the last old one has its value.
    """
    ratio = halved(old - 1, new - 1)
    right = [sum(ratio**power for power in range(count)) for count in range(old)]
    known = np.array([-one for one in right[:0:-1]] + right)
    return known, np.arange(1 - new, new).clip(known[0], known[-1])


def by_two_splines(table, old, new):
    """Resize by cubic splines along columns, then along rows, without FITPACK."""
    values = table.double().numpy().reshape(2 * old - 1, 2 * old - 1, -1)
    for axis, side in ((1, new[1]), (0, new[0])):
        if side != old:
            known, wanted = official_axis(old, side)
            values = CubicSpline(known, values, axis=axis, bc_type="not-a-knot")(wanted)
    return torch.from_numpy(values.reshape(-1, table.shape[1])).float()


@pytest.mark.parametrize(("old", "new", "ratio"), [(6, 7, 1.0913), (12, 14, 1.0329)])
def test_the_official_grid_has_the_ratio_that_is_written_of_it(old, new, ratio):
    exact = brentq(beyond, 1.01, 1.5, (old - 1, new - 1))
    assert exact == pytest.approx(ratio, abs=5e-5)
    assert halved(old - 1, new - 1) == pytest.approx(exact, abs=1e-6)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (6, (7, 7)),
        (12, (14, 14)),
        (6, (12, 12)),
        (12, (6, 6)),
        (7, (12, 12)),
        (6, (7, 9)),
        (7, (5, 9)),
        (6, (6, 10)),
    ],
)
def test_a_table_is_a_spline_on_the_official_grid(old, new):
    """Tables of random numbers are as rough as can be, so that another grid would be seen."""
    table = torch.randn((2 * old - 1) ** 2, 3, generator=torch.Generator().manual_seed(old))
    found, wanted = resize_table(table, new), by_two_splines(table, old, new)
    assert (found - wanted).abs().max() < 1e-5
    stretched = torch.nn.functional.interpolate(
        table.T.reshape(1, 3, 2 * old - 1, -1),
        size=[2 * side - 1 for side in new],
        mode="bicubic",
        align_corners=True,
    )
    assert (stretched.flatten(2)[0].T - wanted).abs().max() > 0.1
