"""Machines and images as plain data, of each kind that a recipe is written for."""

from ssl_swin.recipe.images import Images
from ssl_swin.recipe.machine import GB, Machine, gpu_of

LAPTOP = Machine("cpu", 2, 16 * GB)
SMALL_GPU = Machine("gpu", 8, 32 * GB, (gpu_of("rtx_8gb"),))
LARGE_GPU = Machine("gpu", 16, 128 * GB, (gpu_of("h100_80gb"),))
OLD_GPUS = Machine("gpu", 40, 256 * GB, (gpu_of("v100_16gb"),) * 3)
CLUSTER = Machine("slurm", 64, 512 * GB, (gpu_of("a100_40gb"),) * 8, "gpus", 4, "1-00:00:00")
MACHINES = (LAPTOP, SMALL_GPU, LARGE_GPU, OLD_GPUS, CLUSTER)


def images(num=3000, side=192, chans=3, **others):
    """So many images of about that short side."""
    statistics = ((0.5,) * chans, (0.25,) * chans)
    return Images("shards/mine", "shards/mine", None, num, (side,) * 3, *statistics, **others)
