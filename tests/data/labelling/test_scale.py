"""Numbers in standard form."""

import numpy as np
import pytest

from ssl_swin.data.labelling.attach import Asked, attach
from ssl_swin.data.labelling.scale import scale_of, scale_told, scaled
from ssl_swin.errors import UserError


@pytest.fixture
def numbers(make_set):
    def make(name, *texts):
        shards = make_set(name, {f"s{place}": text for place, text in enumerate(texts)})
        return attach({name: shards}, Asked("regression"))[0][name]

    return make


def test_training_numbers_have_mean_0_and_deviation_1(numbers):
    shards = numbers("a", "10;1", "20;2", None, "60;6")
    mean, std = scale_of([shards.given, None])
    assert mean == (30.0, 3.0)
    assert std == pytest.approx((np.std([10, 20, 60]), np.std([1, 2, 6])))
    values = scaled(shards, (mean, std)).given.values.reshape(-1, 2)
    assert values.mean(axis=0) == pytest.approx(0)
    assert values.std(axis=0) == pytest.approx(1)
    assert scale_told((mean, std)) == (
        "numbers of an image: 2, of the training images 30 ± 21.6, 3 ± 2.16"
    )


def test_another_set_is_in_the_same_form(numbers):
    test = scaled(numbers("b", "50"), ((30.0,), (10.0,)))
    assert test.given.values.tolist() == [2.0]
    assert test.given.scale == ((30.0,), (10.0,))


def test_what_cannot_be_is_refused(numbers):
    with pytest.raises(UserError, match=r"^a training image has the number 1e\+300, and squares"):
        scale_of([numbers("large", "1", "-1e300").given])
    with pytest.raises(UserError, match="all training images have the number 3, so there is"):
        scale_of([numbers("a", "1;3", "2;3").given])
    with pytest.raises(UserError, match="no training image has a number"):
        scale_of([None])
    with pytest.raises(UserError, match="have other than 2 numbers an image"):
        scaled(numbers("b", "1"), ((0.0, 0.0), (1.0, 1.0)))
