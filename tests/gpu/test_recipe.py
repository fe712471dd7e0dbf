"""A recipe takes its steps on the GPU that there is, and halves what does not fit."""

import pytest

from ssl_swin.config.settings import with_values
from ssl_swin.recipe import measure as measure_module
from ssl_swin.recipe.choose import Wishes, choose
from ssl_swin.recipe.machine import look
from ssl_swin.recipe.measure import config_of, measure_what_fits
from tests.gpu.device import needs_gpu
from tests.recipe.machines import images

pytestmark = pytest.mark.gpu


@needs_gpu("main memory never runs out in a way that can be caught")
def test_a_micro_batch_that_does_not_fit_is_halved(monkeypatch):
    monkeypatch.setattr(measure_module, "STEPS_S", 0.01)
    machine = look("gpu")
    config = config_of(choose(images(), machine, "shards/mine", Wishes("nowhere")))
    speed, fits = measure_what_fits(config, machine, is_packed=False)
    assert speed.takes > 0
    assert fits == config.training.micro_batch_size
    huge = with_values(config, {"training.micro_batch_size": 2**14})
    assert measure_what_fits(huge, machine, is_packed=False)[1] < 2**14
