import torch

from ssl_swin.models.encoder import build_encoder
from ssl_swin.models.flops import count_flops


def test_a_product_counts_its_products_and_sums():
    a, b = torch.ones(8, 16), torch.ones(16, 32)
    assert count_flops(lambda: a @ b) == 2 * 8 * 16 * 32


def test_swin_tiny_needs_what_the_paper_says():
    with torch.device("meta"):
        encoder = build_encoder("swin_tiny_patch4_window7_224", 224, 3).to("meta")
        images = torch.empty(1, 3, 224, 224)
        flops = count_flops(lambda: encoder(images))
    assert abs(flops / 2 / 4.5e9 - 1) < 0.03  # Swin, table 1: 4.5 G, in products with their sums
