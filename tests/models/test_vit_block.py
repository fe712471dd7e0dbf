import timm.models.beit
import torch

from ssl_swin.models.blocks import compile_blocks
from ssl_swin.models.vit_block import BlockSizes, ViTAttention, ViTBlock, bias_rows, num_rows


def test_rows_of_tables_are_those_of_timms_beit():
    for grid in ((3, 3), (2, 5), (1, 1)):
        expected = timm.models.beit.gen_relative_position_index(grid)
        assert torch.equal(torch.from_numpy(bias_rows(grid, True)), expected)
        assert num_rows(grid, True) == expected.max() + 1
        without = torch.from_numpy(bias_rows(grid, False))
        assert torch.equal(without, expected[1:, 1:])
        assert num_rows(grid, False) == without.max() + 1


def test_a_keys_bias_says_nothing():
    """So a ViT with biases of queries and values alone computes what one of all three does."""
    torch.manual_seed(0)
    three, two = (ViTAttention(BlockSizes(16, 2, 0.0, qkv_bias=kind)) for kind in ("qkv", "qv"))
    state = three.state_dict()
    query, _, value = torch.randn(48).chunk(3)
    state["qkv.bias"] = torch.cat([query, torch.randn(16), value])
    three.load_state_dict(state)
    del state["qkv.bias"]
    two.load_state_dict(state | {"q_bias": query, "v_bias": value})
    x = torch.randn(2, 5, 16)
    with torch.no_grad():
        torch.testing.assert_close(two(x), three(x), rtol=0, atol=1e-6)


def test_a_bias_of_all_blocks_and_one_of_a_blocks_own_table_are_added_to_scores():
    torch.manual_seed(0)
    index = torch.from_numpy(bias_rows((2, 2), True))
    own = ViTAttention(BlockSizes(8, 2, 0.0, table_rows=num_rows((2, 2), True)))
    table = torch.randn(num_rows((2, 2), True), 2)
    own.load_state_dict(own.state_dict() | {"relative_position_bias_table": table})
    plain = ViTAttention(BlockSizes(8, 2, 0.0))
    state = own.state_dict()
    del state["relative_position_bias_table"]
    plain.load_state_dict(state)
    x, bias = torch.randn(3, 5, 8), table[index].permute(2, 0, 1).unsqueeze(0)
    with torch.no_grad():
        assert torch.equal(own(x, index), plain(x, bias))
        assert not torch.equal(plain(x), plain(x, bias))


def test_a_compiled_block_takes_what_all_blocks_share():
    torch.manual_seed(0)
    block = ViTBlock(BlockSizes(8, 2, 0.0))
    x, bias = torch.randn(2, 5, 8), torch.randn(1, 2, 5, 5)
    with torch.no_grad():
        expected = block(x, bias)
        compile_blocks([block], "default", backend="eager")
        torch.testing.assert_close(block(x, bias), expected, rtol=0, atol=1e-6)
        torch.testing.assert_close(block.eval()(x, bias), expected, rtol=0, atol=1e-6)
