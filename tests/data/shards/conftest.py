"""The set of this folder's tests."""

import pytest

from tests.data.shards.tars import numbered_tars


@pytest.fixture
def folder(tmp_path):
    """Tars of 3, 0, 5 and 1 samples, not yet indexed."""
    return numbered_tars(tmp_path, (3, 0, 5, 1))
