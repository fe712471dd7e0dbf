"""Swins of timm in a NumPy archive. Its line in the table: FORMATS["toy"] = read_toy."""

import numpy as np
import torch

from ssl_swin.pretrained.report import Report
from ssl_swin.pretrained.timm import from_timm, swin_weights


def read_toy(path):
    if path.suffix != ".npz":
        return None
    with np.load(path) as arrays:
        state = from_timm({key: torch.from_numpy(arrays[key]) for key in arrays})
    return swin_weights(state, Report("a toy's Swin"))
