"""Marks all tests of this folder gpu; fixtures of other folders that they build on."""

from pathlib import Path

import pytest

from tests.evaluation.conftest import classifier_run  # noqa: F401
from tests.golden.conftest import (  # noqa: F401
    expected,
    golden_encoder,
    inputs,
    masked_loss,
    official_path,
    official_weights,
    pretrain_model,
    pretrain_model_of,
    to_our_name,
)
from tests.gpu.device import ON_GPU
from tests.training.conftest import shards  # noqa: F401


def pytest_configure(config):
    if ON_GPU:  # see `tolerate_warnings`
        config.addinivalue_line("filterwarnings", "default")


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their marks
def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("gpu")
