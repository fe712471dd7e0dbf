import numpy as np
import pytest
import torch

from ssl_swin.errors import UserError
from ssl_swin.models.encoder import HasStarts, LeavesOut, build_encoder
from ssl_swin.models.visible_windows import group, lay_out, pack, visible_of_next
from ssl_swin.models.windows import EMPTY, relative_positions, split_into_windows

GRID, WINDOW = (12, 8), (4, 4)
LAYOUTS = {
    "as they are": split_into_windows(GRID, WINDOW),
    "shifted": split_into_windows(GRID, WINDOW, (2, 2)),
    "one window": split_into_windows(GRID, GRID),
}
SWINS = {"embed_dim": 8, "num_heads": (1, 2, 4), "depths": (2, 2, 2), "window_size": 4}
VITS = {"embed_dim": 16, "depths": (3,), "num_heads": (2,), "patch_size": 8}
KINDS = [
    ("swin_tiny_patch4_window7_224", SWINS),
    ("swin_tiny_patch4_window7_224", SWINS | {"position": "both", "shift": "padded"}),
    ("swin_tiny_patch4_window7_224", SWINS | {"position": "none", "shift": "none"}),
    ("swinv2_tiny_window8_256", SWINS),
    ("vit_tiny_patch16_224", VITS),
    ("vit_base_patch16_224", VITS | {"position": "relative-shared", "qkv_bias": "qv"}),
    ("beit_base_patch16_224", VITS | {"position": "both", "class_token": False}),
]
every_kind = pytest.mark.parametrize(("name", "sizes"), KINDS)


def some_visible(seed=0, share=0.4):
    return np.random.default_rng(seed).random(GRID[0] * GRID[1]) < share


@pytest.mark.parametrize("name", LAYOUTS)
def test_each_visible_token_sees_the_visible_ones_of_its_window_and_region(name):
    windows, shown = LAYOUTS[name], some_visible()
    window = GRID if name == "one window" else WINDOW
    found = group(windows, window, shown)
    tokens = np.flatnonzero(shown)
    take, back, rows, sees = (one.numpy() for one in found)
    slots = np.where(take == EMPTY, EMPTY, tokens[take]).reshape(sees.shape[:2])
    assert sorted(slots[slots != EMPTY]) == list(tokens)
    assert (take[back] == np.arange(len(tokens))).all()
    positions = relative_positions(window)
    for in_group, slot in np.argwhere(slots != EMPTY):
        token = slots[in_group, slot]
        number, place = np.argwhere(windows.slots == token)[0]
        is_seen = (windows.regions[number] == windows.regions[number, place]) & (
            shown[windows.slots[number]]
        )
        wanted = dict(zip(windows.slots[number][is_seen], positions[place][is_seen], strict=True))
        where = np.flatnonzero(sees[in_group, slot])
        got = dict(zip(slots[in_group, where], rows[in_group, slot, where], strict=True))
        assert got == wanted


def test_parts_are_packed_densely_and_never_beyond_a_group():
    sizes = np.array([5, 1, 4, 4, 2, 7, 3, 6, 2, 2])
    number, first = pack(sizes, 8)
    held = np.zeros((number.max() + 1, 8), int)
    for part, size in enumerate(sizes):
        held[number[part], first[part] : first[part] + size] += 1
        assert first[part] + size <= 8
    assert held.max() == 1
    assert len(held) == 5  # 36 tokens in 40 slots: no fewer groups would do
    assert [len(one) for one in pack(np.array([], int), 8)] == [0, 0]


def test_of_tokens_that_are_merged_all_are_hidden_or_none():
    shown = np.zeros(GRID, bool)
    shown[2:4, 4:8] = True
    after, fours = visible_of_next(GRID, shown.ravel())
    assert np.flatnonzero(after).tolist() == [4 + 2, 4 + 3]
    assert fours.tolist() == [0, 4, 1, 5, 2, 6, 3, 7]  # column by column, among the eight
    shown[2, 4] = False
    with pytest.raises(UserError, match="are merged would be hidden in part"):
        visible_of_next(GRID, shown.ravel())


def test_blocks_of_one_shift_share_their_numbers():
    windows = [LAYOUTS["as they are"], LAYOUTS["shifted"]] * 2
    (stage,) = lay_out([windows], GRID, [WINDOW], some_visible())
    assert stage.blocks[0] is stage.blocks[2]
    assert stage.blocks[1] is stage.blocks[3]
    moved = stage.to("cpu")
    assert moved.blocks[0] is moved.blocks[2]
    assert moved.blocks[0] is not moved.blocks[1]


def grown(name, sizes, **more):
    """A network whose biases, tables and norms matter."""
    torch.manual_seed(0)
    encoder = build_encoder(name, (64, 32), 3, **sizes, **more).double().eval()
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return encoder


def images():
    return torch.randn(
        2, 3, 64, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )


def enlarged(mask, by):
    return mask.repeat_interleave(by[0], 0).repeat_interleave(by[1], 1)


@every_kind
def test_with_nothing_hidden_maps_are_those_of_all_tokens(name, sizes):
    encoder = grown(name, sizes)
    assert isinstance(encoder, LeavesOut)
    encoder.require_leaving_out(16)
    side = encoder.patch_size
    nothing = torch.zeros(64 // side, 32 // side, dtype=torch.bool)
    starts, found = encoder.visible_stages(images(), nothing)
    wanted = encoder.stages(images())
    if isinstance(encoder, HasStarts):
        before, _ = encoder.starts_and_stages(images())
        found, wanted = [*starts, *found], [*before, *wanted]
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other)


@every_kind
def test_what_is_hidden_is_not_seen_and_takes_no_gradient(name, sizes):
    encoder = grown(name, sizes)
    hidden = torch.tensor([[1, 0], [0, 1], [1, 1], [0, 0]], dtype=torch.bool)
    of_tokens = enlarged(hidden, (16 // encoder.patch_size,) * 2)
    of_pixels = enlarged(hidden, (16, 16))
    given = images().requires_grad_()
    starts, ends = encoder.visible_stages(given, of_tokens)
    maps = [*starts, *ends]
    sum(one.square().sum() for one in maps).backward()
    assert (given.grad[:, :, of_pixels] == 0).all()
    assert (given.grad[:, :, ~of_pixels] != 0).any(0).all()
    for one in maps:
        at = enlarged(hidden, (one.shape[2] // 4, one.shape[3] // 2))
        assert ((one == 0).all(1) == at).all()
    other = torch.where(of_pixels, 7.0, images())
    starts, ends = encoder.visible_stages(other, of_tokens)
    for one, same in zip(maps, [*starts, *ends], strict=True):
        assert torch.equal(one, same)


@pytest.mark.parametrize(("name", "sizes"), KINDS[:4])
def test_a_swin_is_one_whose_windows_hide_the_same_tokens(name, sizes):
    """What all tokens make, if each sees but the visible ones of its window."""
    encoder = grown(name, sizes)
    hidden = torch.rand(4, 2, generator=torch.Generator().manual_seed(2)) < 0.5

    def on(grid):
        return enlarged(hidden, (grid[0] // 4, grid[1] // 2))

    _, found = encoder.visible_stages(images(), on((16, 8)))
    for stage in encoder.backbone.layers:
        shown = ~on(stage.grid).numpy()
        for block in stage.blocks:
            kind = sizes.get("shift", "cyclic")
            sizes_of = block.input_resolution, block.window_size, block.shift_size
            windows = split_into_windows(*sizes_of, kind)
            own = np.eye(windows.slots.shape[1], dtype=bool)  # else a hidden one would see nothing
            there = (windows.slots != EMPTY) & shown.ravel()[windows.slots]
            sees = windows.regions[:, :, None] == windows.regions[:, None, :]
            block.attn_mask = torch.from_numpy(sees & there[:, None] | own)
            if hasattr(block.attn, "hidden"):
                block.attn.hidden = float("-inf")
    wanted = encoder.stages(images())
    for one, other in zip(found, wanted, strict=True):
        at = ~on(one.shape[2:])
        torch.testing.assert_close(one[:, :, at], other[:, :, at])


def test_checkpointed_it_is_the_same():
    encoder = grown(*KINDS[0]).train()
    mask = enlarged(torch.tensor([[1, 0]], dtype=torch.bool), (16, 4))
    grads = []
    for on in (False, True):
        encoder.set_grad_checkpointing(on)
        encoder.zero_grad()
        encoder.visible_stages(images(), mask)[1][-1].square().sum().backward()
        grads.append(
            [one.grad.clone() for one in encoder.backbone.parameters() if one.grad is not None]
        )
    assert all(map(torch.equal, *grads))


def test_what_cannot_be_left_out_is_refused_in_one_line():
    def refused(mask_patch_size=16, img_size=64, **sizes):
        encoder = build_encoder("swin_tiny_patch4_window7_224", img_size, 3, **SWINS | sizes)
        with pytest.raises(UserError) as found:
            encoder.require_leaving_out(mask_patch_size)
        return str(found.value)

    assert "leave out model.mixer and model.implementation" in refused(mixer="mlp")
    assert "leave out model.mixer and model.implementation" in refused(implementation="timm")
    assert "mask_patch_size=8 is no multiple of 16, the stride" in refused(8)
    assert "windows of 3 tokens have places beyond the image" in refused(window_size=3)
