"""Which network fits the images and the machine, and what is hidden from it: plain numbers."""

from dataclasses import dataclass

from ssl_swin.recipe.images import Images
from ssl_swin.recipe.machine import GB, Machine


@dataclass(frozen=True)
class Network:
    """A Swin, the images it takes, and its mask patches; None keeps what timm's name says."""

    name: str
    img_size: int
    mask_patch_size: int
    gigabytes: float
    """Of a GPU that one image of a micro-batch takes, in half precision; an estimate."""
    of_base: float
    """What a step computes beside a Swin-B at 192 pixels."""
    patch_size: int | None = None
    window_size: int | None = None
    embed_dim: int | None = None
    depths: tuple[int, ...] | None = None
    num_heads: tuple[int, ...] | None = None
    per_core: float = 0.0
    """Images/s that a step takes on each core of a CPU, about; 0 if it is for GPUs."""


_TINY = "swin_tiny_patch4_window7_224"  # whose sizes the small ones replace
# For photographs on a CPU: 12 x 12 tokens, then 6 x 6. See benchmarks/results/recipe_cpu.md.
_AT_96 = Network(_TINY, 96, 16, 0.01, 0.03, 8, 6, 96, (2, 4), (3, 6), 60.0)
_AT_64 = Network(_TINY, 64, 8, 0.01, 0.03, 4, 8, 48, (2, 4), (3, 6), 60.0)
_AT_32 = Network(_TINY, 32, 8, 0.005, 0.01, 4, 8, 48, (2, 2), (3, 6), 200.0)  # that of `make demo`
SMALLEST_96, SMALLEST_64, SMALLEST_192 = 88, 52, 144  # short sides from which a size pays, pixels
# least images, least gigabytes of a GPU -> timm's name, gigabytes of an image at 192 pixels, and
# its multiplications beside Swin-B's
_LARGE = (
    (300_000, 30, "swin_base_patch4_window7_224", 0.18, 1.0),
    (100_000, 15, "swin_small_patch4_window7_224", 0.13, 0.57),
    (0, 0, _TINY, 0.08, 0.29),
)


def choose_network(images: Images, machine: Machine) -> tuple[Network, str]:
    """Return the network and why it is this one."""
    side = images.short_sides[1]
    if not machine.gpus or side < SMALLEST_96:
        why = "a CPU takes no more" if not machine.gpus else "such small images need no more"
        return _small(side), f"with the sizes below in place of its own: {why}"
    img_size, mask_patch, share = (192, 32, 1.0) if side >= SMALLEST_192 else (96, 16, 0.25)
    memory = min(gpu.memory_bytes for gpu in machine.gpus) / GB
    name, each, cost = next(
        (name, each, cost)
        for least, gigabytes, name, each, cost in _LARGE
        if images.num >= least and memory >= gigabytes
    )
    why = f"{images.num:,} images and {memory:.0f} GB: more of both would carry a larger one"
    if name == _LARGE[0][2]:
        why = f"{images.num:,} images and {memory:.0f} GB carry it"
    return Network(name, img_size, mask_patch, each * share, cost * share, window_size=6), why


def _small(side: int) -> Network:
    if side >= SMALLEST_96:
        return _AT_96
    return _AT_64 if side >= SMALLEST_64 else _AT_32
