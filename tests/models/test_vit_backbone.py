import torch

from ssl_swin.models.vit_backbone import ViT, ViTKind, ViTShape

SHAPE = ViTShape((16, 24), 1, 8, 8, 3, 2, 0.3)


def test_maps_are_rows_and_columns_of_the_image_without_the_class_token():
    vit = ViT(SHAPE, ViTKind())
    images = torch.zeros(2, 1, 16, 24)
    assert vit.grid == (2, 3)
    assert vit.pos_embed.shape == (1, 7, 8)
    assert [tuple(one.shape) for one in vit.maps(images)] == [(2, 2, 3, 8)] * 3
    places = torch.zeros_like(vit.pos_embed)
    places[0, 1 + 5] = 9.0  # the last of six places, after the class token
    with torch.no_grad():
        before = vit.maps(images)[0]
        vit.pos_embed += places
        moved = (vit.maps(images)[0] - before).abs().amax((0, 3))
    assert moved.argmax() == 5


def test_the_mask_token_takes_the_place_of_patches_before_positions_are_added():
    vit = ViT(SHAPE, ViTKind()).eval()
    images, mask = torch.randn(1, 1, 16, 24), torch.zeros(1, 2, 3).bool()
    mask[0, 1, 2] = True
    token = torch.randn(1, 1, 8)
    seen = []
    hook = vit.blocks[0].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.no_grad():
        vit(images, mask, token)
        vit(images)
        expected = token[0, 0] + vit.pos_embed[0, 6]
        torch.testing.assert_close(seen[0][0, 6], expected)
        torch.testing.assert_close(seen[0][0, :6], seen[1][0, :6])
        torch.testing.assert_close(seen[0][0, 0], vit.cls_token[0, 0] + vit.pos_embed[0, 0])
    hook.remove()


def test_drop_path_grows_with_depth():
    vit = ViT(SHAPE, ViTKind())
    rates = [getattr(block.drop_path1, "drop_prob", 0.0) for block in vit.blocks]
    assert torch.allclose(torch.tensor(rates), torch.tensor([0.0, 0.15, 0.3]))


def test_no_index_of_relative_positions_is_kept_where_none_is_used():
    assert ViT(SHAPE, ViTKind()).relative_position_index is None
    shared = ViT(SHAPE, ViTKind(absolute=False, shared=True))
    assert shared.relative_position_index.shape == (7, 7)
    assert not [name for name in shared.state_dict() if name.endswith("index")]
