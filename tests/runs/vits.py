"""What only a ViT has of settings, and other values of it; test_vits.py looks at what they do."""

OF_VITS = {"class_token": True, "qkv_bias": "qv", "init_values": 0.1}
OF_VITS |= {"fc_norm": True, "norm_eps": 1e-12}


def of_vits(refused):
    """Each asked of a Swin, for the sweep over settings."""
    return {f"model.{name}": refused(one, f"a Swin has no {name}") for name, one in OF_VITS.items()}
