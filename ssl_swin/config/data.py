"""What a run is: where images come from, and what is done to them."""

import math
import re
from dataclasses import dataclass, field
from typing import Literal

from ssl_swin.config.settings import (
    LAYOUT,
    layout_setting,
    newer_setting,
    require,
    require_all,
    require_filled,
)
from ssl_swin.config.stats import read_stats
from ssl_swin.data.pixels.channels import Channels, as_names

Dtype = Literal["uint8", "uint16", "int16", "float16", "float32"]
_WHOLE = {"uint8": (0, 2**8 - 1), "uint16": (0, 2**16 - 1), "int16": (-(2**15), 2**15 - 1)}
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class SetConfig:
    """One of several shard sets that are trained on together."""

    shards: str = field(metadata=LAYOUT)
    """A folder, a tar, a glob, or braces such as train-{000000..000099}.tar."""
    weight: float
    """Its share of the images, relative to the other sets' weights."""

    def __post_init__(self) -> None:
        require_all("be greater than 0", "data.sets", self, "weight")


@dataclass(frozen=True)
class DataConfig:
    """Where images come from and what is done to them."""

    shards: str | None = layout_setting(None)
    """Training shards: a folder, a tar, a glob, or braces such as train-{000000..000099}.tar; or a
    URL of these (http, https, s3, gs, hf)."""
    sets: tuple[SetConfig, ...] = ()
    """Instead of `shards`: several sets, each `{shards: ..., weight: ...}`."""
    samples_per_epoch: int | None = None
    """With `sets`: images of one epoch; null: as many as the sets hold together."""
    val_shards: str | None = layout_setting(None)
    """Held-out shards; without them there is no held-out loss or accuracy."""
    labelled_shards: str | None = layout_setting(None)
    """Shards with labels, a few images of which show how well neighbours tell classes while
    pretraining; never trained on by their labels. They may be those of `shards`."""
    labels: str | None = layout_setting(None)
    """CSV (first line key,label) or Parquet with these columns: the label of each sample by its key
    in the tars, for tars without labels; what is in it must stay while a run goes on."""
    mean: tuple[float, ...] = IMAGENET_MEAN
    """Mean of each channel, of pixels in [0, 1]; its length is the number of channels, 1 or 3. With
    a `dtype` of the numbers as they are, and any number of channels."""
    std: tuple[float, ...] = IMAGENET_STD
    """Standard deviation of each channel."""
    stats: str | None = layout_setting(None)
    """File that `shards info --stats` wrote: mean and std of the channels that are taken; dtype,
    nodata and channel_axis where they are not given. A run's config has the numbers instead."""
    dtype: Dtype | None = None
    """Take the numbers of files as they are, of this type: uint8, uint16, int16, float16 or float32
    (.npy, .npz, TIFF, PNG of 16 bits, and others); null: colours of 8 bits, grey or RGB."""
    channels: Channels | None = None
    """With `dtype`: which channels of a file, in their order: numbers counted from 0, or names, as
    channels.json beside the shards has them; null: all."""
    picture_channels: tuple[int, ...] | tuple[str, ...] | None = layout_setting(None)
    """With `dtype`: which of these channels pictures show, by number or name as above: one as grey,
    or three as red, green and blue; null: the three principal components, where there are more."""
    channel_axis: Literal["first", "last"] | None = None
    """With `dtype`: where a .npy has its channels; null: the axis that is shorter than others."""
    nodata: float | None = None
    """With `dtype`: the number that stands for none, beside NaN and infinity. It becomes the mean,
    and counts in no loss."""
    crop_scale: tuple[float, float] = (0.67, 1.0)
    """Smallest and largest share of the area that a random crop keeps."""
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """Smallest and largest width over height of a random crop."""
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    """How crops are resized."""
    decoder: Literal["fast", "pil"] = "fast"
    """How JPEGs are decoded and resized: by libjpeg-turbo and torch, or by Pillow (reference)."""
    max_pixels: int = 178_956_970  # as in decode.py, which takes long to import
    """Most pixels, width times height, of an image; a larger one counts as unreadable."""
    black: float = 0.0
    """Of grey files of more than 8 bits: the number that becomes black."""
    white: float | None = None
    """Of the same: the number that becomes white, such as 1023 of 10 bits; null: 65535, and files
    of fractions count as unreadable."""
    hflip: float = 0.5
    """Probability of a horizontal flip, [0, 1]."""
    vflip: float = 0.0
    """Probability of a vertical flip, [0, 1], for images that have no up."""
    quarter_turns: bool = False
    """Turn images by 0, 1, 2 or 3 right angles, each as often; likewise."""
    crop_pct: float = 0.875
    """Share of the short side that the centre crop of evaluation keeps, (0, 1]."""
    num_workers: int = layout_setting(8)
    """Loader processes per training process; 0 loads in the training process."""
    num_lanes: int | None = None
    """Lanes the order is dealt in, a divisor of the global batch, and the most processes that the
    run may have; null: the largest up to 64, or more if it begins with more processes."""
    block_size: int = 4096
    """Samples shuffled together inside a lane."""
    max_bad_share: float = layout_setting(0.01)
    """Largest share of images that cannot be decoded, [0, 1]; above it the run stops."""
    cache_dir: str | None = layout_setting(None)
    """Folder of this machine for remote shards, and for indexes of shards in read-only places;
    null: the user's cache."""
    cache_gb: float | None = layout_setting(None)
    """Most gigabytes (1e9 bytes) of remote shards kept there; null: 80 % of what is free, with what
    the cache holds counted as free."""

    @property
    def patterns(self) -> tuple[str, ...]:
        """The training sets, of which there is one without `sets`."""
        return (self.shards,) if self.shards is not None else tuple(one.shards for one in self.sets)

    def __post_init__(self) -> None:
        places = "shards", "val_shards", "labelled_shards", "labels", "stats", "cache_dir"
        require_filled("data.", self, *places)
        if self.stats is not None:
            self._take_stats(self.stats)
        require(
            (self.shards is None) != (not self.sets),
            f"data.shards={self.shards!r} and {len(self.sets)} data.sets: give one of the two",
        )
        require(
            self.samples_per_epoch is None or bool(self.sets),
            f"data.samples_per_epoch={self.samples_per_epoch} goes with data.sets; an epoch of "
            "data.shards is each image once",
        )
        require(
            self.labels is None or self.labelled_shards is not None or type(self) is not DataConfig,
            f"data.labels={self.labels} goes with data.labelled_shards, for pretraining needs no "
            "labels; leave it out",
        )
        self._check_numbers()
        white = 65535 if self.white is None else self.white
        require(
            self.black < white,
            f"data.black={self.black:g} must be less than data.white={white:g}",
        )
        require(
            min(self.std) > 0 and all(map(math.isfinite, (*self.mean, *self.std))),
            f"data.std={self.std} must be greater than 0, and data.mean={self.mean} and it finite; "
            "leave out channels of one number alone by data.channels",
        )
        positive = ("crop_pct", "block_size", "num_lanes", "samples_per_epoch", "cache_gb")
        require_all("be greater than 0", "data", self, "max_pixels")
        require_all("be greater than 0", "data", self, *positive)
        require_all("lie in [0, 1]", "data", self, "crop_pct", "hflip", "vflip", "max_bad_share")
        require_all("be 0 or more", "data", self, "num_workers")
        for name in ("crop_scale", "crop_ratio"):
            low, high = getattr(self, name)
            require(0 < low <= high, f"data.{name}={(low, high)} must be 0 < smallest <= largest")
        require(self.crop_scale[1] <= 1, f"data.crop_scale={self.crop_scale} must not exceed 1")

    def _take_stats(self, path: str) -> None:
        """Put what was measured in place of the file, which may be another one tomorrow."""
        found = read_stats(path, self.channels)
        for name, usual in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
            own = getattr(self, name)
            require(
                own in (usual, found[name]),
                f"data.{name}={own} and data.stats={path} say two things, that file {found[name]}; "
                "leave out one of the two (--data.stats null)",
            )
        for name, value in found.items():
            if name in ("mean", "std", "channels") or getattr(self, name) is None:
                object.__setattr__(self, name, value)
        object.__setattr__(self, "stats", None)

    def _check_numbers(self) -> None:
        """Refuse what cannot be said of the numbers in files."""
        num, dtype = len(self.mean), self.dtype
        if dtype is None:
            require(
                num == len(self.std) and num in (1, 3),
                f"data.mean has {num} and data.std {len(self.std)} values; give both 1 (grey) or 3 "
                "(RGB), or data.dtype, for numbers as they are",
            )
            for name in ("channels", "picture_channels", "channel_axis", "nodata"):
                value = getattr(self, name)
                require(value is None, f"data.{name}={value} goes with data.dtype: give that, too")
            return
        require(
            num == len(self.std) and num > 0,
            f"data.mean has {num} and data.std {len(self.std)} values; give both one for each "
            "channel",
        )
        require(
            self.mean != IMAGENET_MEAN,
            f"data.dtype={dtype} takes numbers as they are, so data.mean and data.std must be of "
            "those; ssl-swin shards info SHARDS --stats measures them",
        )
        self._check_channels()
        low, high = _WHOLE.get(dtype, (-math.inf, math.inf))
        nodata = low if self.nodata is None or dtype not in _WHOLE else self.nodata
        require(
            nodata == low or (low <= nodata <= high and float(nodata).is_integer()),
            f"data.nodata={self.nodata} is no {dtype}; give a whole number from {low} to {high}",
        )

    def _check_channels(self) -> None:
        """Refuse channels that are no channels of a file, whatever is in it."""
        num = len(self.mean)
        for name in ("channels", "picture_channels"):
            value = getattr(self, name)
            names = as_names(value)
            require(
                value is None or names == value or (names is None and min(value, default=-1) >= 0),
                f"data.{name}={value} must be numbers, counted from 0, or names, and not both",
            )
        require(
            self.channels is None or len(self.channels) == num,
            f"data.channels={self.channels} must name as many channels as data.mean has values, "
            f"{num}",
        )
        shown = self.picture_channels
        is_there = all(isinstance(one, str) or one < num for one in shown or ())
        require(
            is_there or self.channels is not None,
            f"data.picture_channels={shown} are not all there: images have {num} channels, counted "
            "from 0; choose among those",
        )
        require(
            shown is None or len(shown) in (1, 3),
            f"data.picture_channels={shown} must name one channel, for grey, or three, for red, "
            "green and blue",
        )


@dataclass(frozen=True)
class LabelledDataConfig(DataConfig):
    """Labelled images for fine-tuning."""

    crop_scale: tuple[float, float] = (0.08, 1.0)
    """Smallest and largest share of the area that a random crop keeps."""
    interpolation: Literal["bilinear", "bicubic"] = "bicubic"
    """How crops are resized."""
    label_field: str = "label"
    """Field of the .json member that holds the class; .cls members come first."""
    num_labels: int | None = None
    """Use only so many training images, balanced over the classes, drawn by seed; null: all."""
    sampling: Literal["uniform", "balanced"] = "uniform"
    """How images are drawn: uniform, each once per epoch; balanced, all classes alike, so that
    images of rare classes repeat and not all of the others are seen in an epoch."""
    rand_augment: str = "rand-m9-mstd0.5-inc1"
    """timm's RandAugment policy (RGB only); empty for none."""
    erasing: float = 0.25
    """Probability of erasing one rectangle, [0, 1]."""
    erasing_draws: Literal["counter", "numpy"] = newer_setting("counter", before="numpy")
    """How erasing's noise is drawn: by counting, on the device, or by NumPy as in version 0.1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_all("lie in [0, 1]", "data", self, "erasing")
        require_all("be greater than 0", "data", self, "num_labels")
        require(
            self.labelled_shards is None,
            f"data.labelled_shards={self.labelled_shards} goes with pretraining; a fine-tuning "
            "measures data.val_shards: leave it out",
        )
        require(
            self.num_labels is None or not self.sets,
            f"data.num_labels={self.num_labels} draws from one shard set; give data.shards instead "
            "of data.sets",
        )
        require(
            self.sampling == "uniform" or not self.sets,
            f"data.sampling={self.sampling} draws from one shard set; give data.shards instead of "
            "data.sets",
        )
        policy = r"|rand(-(m|n|mmax|inc)\d+|-(p|mstd)\d+(\.\d+)?)*"
        require(
            re.fullmatch(policy, self.rand_augment) is not None,
            f"data.rand_augment={self.rand_augment!r} is no policy of timm's; write it like "
            "rand-m9-mstd0.5-inc1, or '' for none",
        )
        require(
            not self.rand_augment or self.dtype is None,
            f"data.rand_augment={self.rand_augment!r} changes colours of 8 bits, and "
            f"data.dtype={self.dtype} takes numbers as they are; set it to '', and see data.vflip "
            "and data.quarter_turns",
        )
        require(
            not self.rand_augment or len(self.mean) == 3,
            f"data.rand_augment={self.rand_augment!r} needs RGB images; set it to '' or give "
            "data.mean and data.std three values",
        )
