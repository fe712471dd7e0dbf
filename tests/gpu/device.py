"""Where these tests compute: on a GPU if there is one, else on the CPU, so that they are tried."""

import warnings

import pytest
import torch

ON_GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if ON_GPU else "cpu")
ACCELERATOR = "gpu" if ON_GPU else "cpu"


def needs_gpu(why: str, num: int = 1) -> pytest.MarkDecorator:
    """Skip a test where there are fewer GPUs, and say why the CPU will not do."""
    return pytest.mark.skipif(torch.cuda.device_count() < num, reason=f"needs {num} GPU: {why}")


def tolerate_warnings(_rank: int = 0) -> None:
    """Print on a GPU what is an error on the CPU: what libraries warn of there is not known yet."""
    if ON_GPU:
        warnings.simplefilter("default")
