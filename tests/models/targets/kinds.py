"""Every target of the table on tiny images: the options with which it is made."""

import torch
from torch import nn

from ssl_swin.models.targets.teacher import Teacher


def tiny_teacher(in_chans, img_size=(16, 24), stride=8, num_features=5):
    """A convolution of one stride, with weights of its own."""
    torch.manual_seed(0)
    network = nn.Conv2d(in_chans, num_features, stride, stride).eval().requires_grad_(False)
    same = (1.0,) * in_chans, (0.0,) * in_chans
    return Teacher(network, network, num_features, img_size, *same, "fingerprint")


def options_of(name, in_chans):
    """Options of all targets; the teacher is there where it is asked for."""
    teacher = tiny_teacher(in_chans) if name.startswith("teacher") else None
    return {"norm_size": 3, "cell_size": 4, "hog_bins": 9, "stride": 8, "teacher": teacher}
