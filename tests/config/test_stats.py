import json

import pytest

from ssl_swin.config.stats import read_stats
from ssl_swin.errors import UserError


def test_channels_are_chosen_in_their_order(tmp_path):
    path = tmp_path / "stats.json"
    path.write_text(json.dumps({"mean": [1, 2, 3], "std": [4, 5, 6], "dtype": "int16", "max": [9]}))
    assert read_stats(str(path), (2, 0)) == {"mean": (3, 1), "std": (6, 4), "dtype": "int16"}
    assert read_stats(str(path), None)["mean"] == (1, 2, 3)
    with pytest.raises(UserError, match="has 3 channels, counted from 0"):
        read_stats(str(path), (3,))


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"data\.stats=.*gone\.json"):
        read_stats(str(tmp_path / "gone.json"), None)
