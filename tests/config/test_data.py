import pytest

from ssl_swin.config.data import DataConfig, LabelledDataConfig, SetConfig
from ssl_swin.data.pixels.decode import DEFAULT_WHITE, MAX_PIXELS
from ssl_swin.errors import UserError

MIXED = {"shards": None, "sets": (SetConfig("x", 1.0),)}

REFUSED = [
    ({"mean": (0.5, 0.5)}, "data.mean has 2 and data.std 3 values"),
    ({"mean": (0.5, 0.5), "std": (1.0, 1.0)}, r"1 \(grey\) or 3 \(RGB\)"),
    ({"std": (0.2, 0.0, 0.2)}, "data.std=.* must be greater than 0"),
    ({"crop_pct": 0.0}, "data.crop_pct=0.0 must be greater than 0"),
    ({"crop_pct": 1.5}, r"data.crop_pct=1.5 must lie in \[0, 1\]"),
    ({"max_pixels": 0}, "data.max_pixels=0 must be greater than 0"),
    ({"black": 65535.0}, "data.black=65535 must be less than data.white=65535"),
    ({"white": -1.0}, "data.black=0 must be less than data.white=-1"),
    ({"hflip": -0.1}, "data.hflip=-0.1"),
    ({"num_workers": -1}, "data.num_workers=-1"),
    ({"num_lanes": 0}, "data.num_lanes=0"),
    (MIXED | {"samples_per_epoch": 0}, "data.samples_per_epoch=0 must be greater"),
    ({"samples_per_epoch": 9}, "data.samples_per_epoch=9 goes with data.sets"),
    ({"shards": None}, "data.shards=None and 0 data.sets: give one of the two"),
    (MIXED | {"shards": "x"}, "data.shards='x' and 1 data.sets: give one of the two"),
    ({"block_size": 0}, "data.block_size=0"),
    ({"cache_gb": 0.0}, "data.cache_gb=0.0"),
    ({"crop_scale": (0.9, 0.1)}, "data.crop_scale"),
    ({"crop_scale": (0.5, 1.1)}, "must not exceed 1"),
    ({"crop_ratio": (0.0, 1.0)}, "data.crop_ratio"),
]
REFUSED_LABELLED = [
    ({"erasing": 2.0}, "data.erasing=2.0"),
    ({"num_labels": 0}, "data.num_labels=0"),
    (MIXED | {"num_labels": 5}, "data.num_labels=5 draws from one shard set"),
    (MIXED | {"sampling": "balanced"}, "data.sampling=balanced draws from one shard set"),
    ({"rand_augment": "rand-x9"}, "data.rand_augment='rand-x9' is no policy"),
    ({"rand_augment": "rand-m9.5"}, "data.rand_augment='rand-m9.5' is no"),
    ({"rand_augment": "rand-m9-inc0.5"}, "is no policy of timm's"),
    ({"mean": (0.5,), "std": (0.5,)}, "needs RGB images"),
]
ALL = [
    *((DataConfig, *one) for one in REFUSED),
    *((LabelledDataConfig, *one) for one in REFUSED + REFUSED_LABELLED),
]


@pytest.mark.parametrize(("kind", "values", "message"), ALL)
def test_values_that_cannot_be_are_refused_by_their_name(kind, values, message):
    with pytest.raises(UserError, match=message) as info:
        kind(**({"shards": "x"} | values))
    assert "\n" not in str(info.value)


def test_defaults_are_those_of_the_decoder():
    assert DataConfig("x").max_pixels == MAX_PIXELS
    DataConfig("x", black=DEFAULT_WHITE - 1)
    with pytest.raises(UserError, match=rf"less than data\.white={DEFAULT_WHITE:g}"):
        DataConfig("x", black=DEFAULT_WHITE)


def test_a_set_without_weight_is_refused():
    with pytest.raises(UserError, match=r"data\.sets\.weight=0 must be greater than 0"):
        SetConfig("x", 0)


def test_the_patterns_are_those_of_all_sets():
    assert DataConfig("a").patterns == ("a",)
    both = (SetConfig("a", 1.0), SetConfig("b", 2.0))
    assert DataConfig(sets=both).patterns == ("a", "b")


@pytest.mark.parametrize(
    "policy", ["", "rand", "rand-m9", "rand-m9-mstd0.5-inc1", "rand-m20-mmax30-n3-p0.5"]
)
def test_timms_policies_are_taken(policy):
    assert LabelledDataConfig("shards", rand_augment=policy).rand_augment == policy


BANDS = {"dtype": "uint16", "mean": (1.0, 2.0), "std": (1.0, 1.0)}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"channels": (0,)}, "data.channels=(0,) goes with data.dtype"),
        ({"nodata": 0.0}, "data.nodata=0.0 goes with data.dtype"),
        ({"channel_axis": "last"}, "data.channel_axis=last goes with data.dtype"),
        ({"dtype": "float32"}, "ssl-swin shards info SHARDS --stats measures them"),
        ({"mean": (1.0,) * 5, "std": (1.0,) * 5}, "or data.dtype, for numbers as they are"),
        (BANDS | {"std": (1.0,)}, "give both one for each channel"),
        (BANDS | {"channels": (1,)}, "must name as many channels as data.mean has values, 2"),
        (BANDS | {"channels": (1, -1)}, "counted from 0"),
        (BANDS | {"channels": ("a",)}, "must name as many channels as data.mean has values, 2"),
        (BANDS | {"channels": ("a", 1)}, "or names, and not both"),
        ({"picture_channels": (0,)}, "data.picture_channels=(0,) goes with data.dtype"),
        (BANDS | {"picture_channels": (2,)}, "are not all there: images have 2 channels"),
        (BANDS | {"picture_channels": (0, 1)}, "must name one channel, for grey, or three"),
        (BANDS | {"picture_channels": (0, -1, 1)}, "counted from 0"),
        (BANDS | {"nodata": -1.0}, "data.nodata=-1.0 is no uint16; give a whole number from 0 to"),
        (BANDS | {"nodata": 0.5}, "is no uint16"),
        ({"vflip": 1.5}, "data.vflip=1.5 must lie in [0, 1]"),
    ],
)
def test_what_does_not_fit_the_numbers_is_refused(values, message):
    with pytest.raises(UserError) as caught:
        DataConfig("x", **values)
    assert message in str(caught.value)


def test_rand_augment_is_refused_for_numbers_as_they_are():
    with pytest.raises(UserError, match=r"changes colours of 8 bits, and data\.dtype=uint16"):
        LabelledDataConfig("x", **BANDS)
    LabelledDataConfig("x", rand_augment="", nodata=65535.0, **BANDS)
