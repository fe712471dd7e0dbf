"""What a machine with a GPU and no network lacks is named rightly; see `.ci/wheels.py`."""

import importlib.util
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


@pytest.fixture(scope="module")
def wheels():
    spec = importlib.util.spec_from_file_location("wheels", ROOT / ".ci" / "wheels.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_requirements_and_wheels_have_one_name(wheels):
    wheel = "numpy-2.5.5-cp312-cp312-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl"
    found = [wheels.name_of(one) for one in (wheel, "numpy>=2", "NumPy")]
    assert found == ["numpy"] * 3
    assert wheels.name_of("tensorboard_data_server-0.7.2-py3-none-any.whl") == (
        wheels.name_of("tensorboard-data-server")
    )
    assert wheels.name_of("jsonargparse[signatures]>=4.49") == "jsonargparse"


def test_what_the_machine_has_is_what_the_package_asks_for(wheels):
    names = {wheels.name_of(one) for one in PROJECT["dependencies"]}
    assert names >= wheels.THERE | wheels.LEFT_OUT
    assert wheels.EXTRA in PROJECT["optional-dependencies"]
