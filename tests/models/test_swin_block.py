import numpy as np
import pytest
import torch

from ssl_swin.models.swin_block import StageSizes, SwinBlock, SwinStage, Switches
from ssl_swin.models.windows import raster

GRID, WINDOW, DIM = (8, 12), (4, 4), 8


def sizes(grid=GRID, rates=(0.0, 0.0)):
    return StageSizes(DIM, grid, 2, WINDOW, rates)


def seen_by(block, token):
    """The tokens, row by row, that what becomes of one depends on."""
    x = torch.randn(1, len(block.order), DIM, requires_grad=True)
    place = int((block.order == token).nonzero()[0][0])
    (grad,) = torch.autograd.grad(block(x)[0, place].sum(), x)
    return {int(one) for one in (grad[0].abs().sum(1) > 0).nonzero()}


@pytest.mark.parametrize("switches", [Switches(), Switches("padded"), Switches("none")])
def test_a_token_is_mixed_with_its_window_and_every_second_block_shifts_it(switches):
    held = raster(GRID)
    for number, shift in ((0, 0), (1, 0 if switches.shift == "none" else 2)):
        block = SwinBlock(sizes(), number, held, switches)
        row, col = np.indices(GRID).reshape(2, -1)
        for token in (0, 13, 50, 95):
            same = ((row - shift) // 4 == (row[token] - shift) // 4) & (
                (col - shift) // 4 == (col[token] - shift) // 4
            )
            assert seen_by(block, token) == set(np.flatnonzero(same))


def test_two_blocks_carry_a_token_over_the_border_of_its_window():
    stage = SwinStage(sizes(), raster(GRID), None, Switches())
    x = torch.randn(1, 96, DIM, requires_grad=True)
    (grad,) = torch.autograd.grad(stage.as_map(stage(x))[0, 3, 3].sum(), x)
    seen = (grad[0].abs().sum(1) > 0).view(GRID)
    assert seen[:8, :8].all()  # four windows meet in the shifted one
    assert not seen[:, 8:].any()


def test_cyclic_and_padded_shifts_are_the_same_attention():
    stages = [
        SwinStage(sizes(), raster(GRID), None, Switches(kind)) for kind in ("cyclic", "padded")
    ]
    stages[1].load_state_dict(stages[0].state_dict())
    x, outs = torch.randn(2, 96, DIM), []
    for stage in stages:
        out = stage.as_map(stage(x))
        outs.append((out, torch.autograd.grad(out.square().sum(), stage.parameters())))
    for one, other in zip(*(([out, *grads]) for out, grads in outs), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("padding", "share"), [("attended", 0.5), ("masked", 1.0)])
def test_what_lies_beyond_the_image_is_seen_as_zeros_or_not_at_all(padding, share):
    """Each token takes the mean of its window, which is half empty in the last two columns."""
    grid = (4, 6)
    block = SwinBlock(sizes(grid), 0, raster(grid), Switches(padding=padding))
    with torch.no_grad():
        for parameter in block.attn.parameters():
            parameter.zero_()
        block.attn.qkv.weight[2 * DIM :] = torch.eye(DIM)
        block.attn.proj.weight.copy_(torch.eye(DIM))
        slots = block.enter(torch.ones(1, 24, DIM))
        mixed = block.leave(block.attn(slots.view(2, 16, DIM), block.attn_mask).view(slots.shape))
    torch.testing.assert_close(mixed.view(4, 6, DIM)[:, :4], torch.ones(4, 4, DIM))
    torch.testing.assert_close(mixed.view(4, 6, DIM)[:, 4:], torch.full((4, 2, DIM), share))


def test_checkpointed_blocks_compute_the_same():
    stage = SwinStage(sizes(rates=(0.5, 0.5)), raster(GRID), None, Switches()).train()
    x, found = torch.randn(3, 96, DIM), []
    for checkpointed in (False, True):
        stage.grad_checkpointing = checkpointed
        torch.manual_seed(1)
        found.append(torch.autograd.grad(stage(x).square().sum(), stage.parameters()))
    assert all(map(torch.equal, *found))
