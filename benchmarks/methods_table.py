"""The methods that `methods.py` holds against each other: a line for each."""

from string import Template
from typing import NamedTuple

BASE, NONE = "simmim", "no pretraining"


class Method(NamedTuple):
    """What is changed of the base, which is SimMIM with the settings of the task."""

    changes: tuple[str, ...] = ()
    """What pretraining is told beside; `$cell` and others as in `SIZES`, `$start` for the run
    folder of the start."""
    start_share: float = 0.0
    """Share of the compute that goes into a run of the base before, whose encoder is used."""
    network: tuple[str, ...] = ()
    """What fine-tuning is told beside, so that all images have one size, and all windows."""
    img_size: bool = False
    """Whether its images have another size, so that an evaluation has to be told the task's."""
    timed: tuple[tuple[float, tuple[str, ...]], ...] = ((1.0, ()),)
    """Of a method whose steps differ in cost: the share of its images that each kind has, and
    what makes a network that takes such steps alone."""


SIZES = {
    "clothing": {
        "cell": "8",
        "img_size": "96",
        "small": "64",
        "window": "6",
        "half_window": "3",
        "small_window": "4",
        "both_window": "4",
        "decoder_dim": "48",
        "vit_dim": "192",
        "vit_depth": "5",
        "vit_heads": "3",
    },
    "fashion-mnist": {
        "cell": "4",
        "img_size": "32",
        "small": "24",
        "window": "8",
        "half_window": "4",
        "small_window": "6",
        "both_window": "3",
        "decoder_dim": "24",
        "vit_dim": "96",
        "vit_depth": "3",
        "vit_heads": "3",
    },
}
"""By task: what stands for a name in a change. A cell is a token of the first stage; the ViT has
tokens as large, and about as many parameters as the Swin. Images that grow have windows of
`both_window` at each size. A decoder is a quarter as wide as the encoder's last stage, as FastMIM's
is."""

_HOG = ("--target.kind", "hog", "--target.cell-size", "$cell", "--loss", "l2")
_WINDOW = ("--model.window-size", "$window")
_SMALL = ("--model.img-size", "$small", "--model.window-size", "$small_window")
_GROWING = ("--model.window-size", "$both_window")
_SMALL_NETWORK = ("--model.img-size", "$img_size", *_WINDOW)
_BLOCKS = (
    *("--decoder.kind", "transformer", "--decoder.dim", "$decoder_dim"),
    *("--decoder.num-heads", "3", "--mask.mask-ratio", "0.75"),
)
_VISIBLE = (
    *(*_BLOCKS, "--decoder.depth", "1", "--decoder.positions", "sin-cos"),
    *("--mask.token", "none"),
)
_HOG_HEAD = "target: hog, loss: l2, cell_size: $cell}"
METHODS = {
    BASE: Method(),
    NONE: Method(),
    "loss l2": Method(("--loss", "l2")),
    "loss smooth l1": Method(("--loss", "smooth_l1")),
    "normalised pixels": Method(("--target.kind", "normalised_pixels")),
    "coarse pixels": Method(("--target.kind", "coarse_pixels", "--target.cell-size", "$cell")),
    "hog": Method(_HOG),
    "pixels and hog": Method(("--heads", f"[{{stage: 2}}, {{stage: 2, {_HOG_HEAD}]")),
    "hog at both stages": Method(
        ("--heads", f"[{{stage: 1, {_HOG_HEAD}, {{stage: 2, {_HOG_HEAD}]")
    ),
    "block mask": Method(("--mask.kind", "block")),
    "square mask": Method(("--mask.kind", "square")),
    "mask ratio 0.75": Method(("--mask.mask-ratio", "0.75")),
    "half windows": Method(("--model.window-size", "$half_window"), network=_WINDOW),
    "small images": Method(_SMALL, network=_SMALL_NETWORK, img_size=True),
    "growing images": Method(
        (*_GROWING, "--progressive", "[{until_epoch: 5, img_size: $small}]"),  # of ten epochs
        network=_WINDOW,
        timed=(
            (0.5, ("--progressive", "[]", "--model.img-size", "$small")),
            (0.5, ("--progressive", "[]")),
        ),
    ),
    "fastmim": Method(
        (*_SMALL, *_HOG, *_BLOCKS, "--decoder.depth", "4", "--mask.token", "pixels"),
        network=_SMALL_NETWORK,
        img_size=True,
    ),
    "visible tokens alone": Method(_VISIBLE),
    "localmim": Method(
        (
            *(*_VISIBLE, "--heads"),
            f"[{{stage: 2, at: start, {_HOG_HEAD}, {{stage: 2, {_HOG_HEAD}]",
        )
    ),
    "swin v2": Method(("--model.name", "swinv2_tiny_window8_256")),
    "vit": Method(
        (
            *("--model.name", "vit_tiny_patch16_224", "--model.window-size", "null"),
            *("--model.embed-dim", "$vit_dim", "--model.depths", "[$vit_depth]"),
            *("--model.num-heads", "[$vit_heads]"),
        )
    ),
    "features of simmim": Method(
        ("--target.kind", "teacher", "--target.teacher", "$start", "--loss", "l2"), 0.5
    ),
    "feature distillation": Method(
        (
            *("--mask.kind", "none", "--target.kind", "teacher", "--target.teacher", "$start"),
            *("--loss", "smooth_l1", "--loss-beta", "2"),
        ),
        0.5,
    ),
    "gfm": Method(
        (
            *("--target.teacher", "$start", "--target.teacher-stage", "2"),
            *("--target.teacher-at", "start", "--heads"),
            "[{stage: 2}, {stage: 2, at: start, target: teacher_pooled, loss: cosine}]",
        ),
        0.5,
    ),
    "simmim, then hog": Method(("--init", "$start", *_HOG), 0.5),
}


def changes_of(method: Method, task: str, start: str) -> tuple[str, ...]:
    """Return what its pretraining is told beside, with sizes and start filled in."""
    return _filled(method.changes, task, start)


def timed_of(method: Method, task: str, start: str) -> list[tuple[float, tuple[str, ...]]]:
    """Return the kinds of steps that are timed: a share, and all that pretraining is told."""
    told = changes_of(method, task, start)
    return [(share, told + _filled(more, task, start)) for share, more in method.timed]


def network_of(method: Method, task: str) -> tuple[str, ...]:
    """Return what fine-tuning is told beside."""
    return _filled(method.network, task, "")


def _filled(words: tuple[str, ...], task: str, start: str) -> tuple[str, ...]:
    sizes = SIZES[task] | {"start": start}
    return tuple(Template(word).substitute(sizes) for word in words)
