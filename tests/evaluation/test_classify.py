from dataclasses import replace

import numpy as np
import pytest
import torch

from ssl_swin.data.order.lanes import Share
from ssl_swin.errors import UserError
from ssl_swin.evaluation.classify import Computing, classify, find_device, fingerprint
from ssl_swin.evaluation.images import open_images
from ssl_swin.evaluation.pixels import PixelStream
from ssl_swin.models.normalise import Normalisation
from ssl_swin.pretrained.classifier import open_classifier

CPU = {"device": "cpu", "num_workers": 0}


@pytest.fixture
def opened(classifier_run, photos):
    """A classifier, and a stream of seven images of which number 2 is broken."""
    found = open_classifier(classifier_run())
    return found, PixelStream(open_images([str(photos(7, broken={2}))])[0], found.card)


def all_of(opened, first=0, **how):
    answers = list(classify(*opened, Computing(**CPU | how), first))
    index = [place for one in answers for place in one.index.tolist()]
    broken = [bad for one in answers for bad in one.broken.tolist()]
    return index, broken, torch.cat([one.probability for one in answers])


@pytest.mark.parametrize("flip", [False, True])
def test_probabilities_are_those_of_ten_plain_lines(opened, flip):
    (network, card), stream = (opened[0].classifier, opened[0].card), opened[1]
    images = stream.__getitems__(Share(0, np.arange(7)))["image"]
    pixels = Normalisation(card.mean, card.std)(images)
    with torch.no_grad():
        expected = network(pixels).double().softmax(1)
        if flip:
            expected = (expected + network(pixels.flip(3)).double().softmax(1)) / 2
    index, broken, probability = all_of(opened, flip=flip)
    assert index == list(range(7))
    assert broken == [place == 2 for place in range(7)]
    assert probability.dtype == torch.float64
    assert torch.equal(probability, expected)


def test_batches_workers_and_where_it_begins_change_nothing(opened):
    _, _, whole = all_of(opened)
    for how in ({"batch_size": 3}, {"batch_size": 2, "num_workers": 2}):
        index, broken, probability = all_of(opened, first=1, **how)
        assert index == list(range(1, 7))
        assert broken == [place == 2 for place in range(1, 7)]
        assert torch.allclose(probability, whole[1:], atol=1e-6)


def test_a_classifier_in_double_computes_in_double(opened):
    opened[0].classifier.double()
    _, _, probability = all_of(opened)
    assert opened[0].classifier.head.weight.dtype == torch.float64
    assert torch.allclose(probability.sum(1), torch.ones(7, dtype=torch.float64))


def test_nothing_is_left_to_do_after_the_last_image(opened):
    assert list(classify(*opened, Computing(**CPU), 7)) == []


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("gpu", "give auto, cpu, cuda, cuda:N or mps"),
        ("cuda:x", "give auto, cpu, cuda, cuda:N or mps"),
        ("cuda:64", "this machine has"),
        ("cpu:0x", "give auto, cpu, cuda, cuda:N or mps"),
    ],
)
def test_a_device_that_is_not_there_is_refused(name, told):
    with pytest.raises(UserError, match=told):
        find_device(name)


def test_auto_is_a_device_that_is_there():
    assert find_device("auto").type in ("cpu", "cuda", "mps")
    assert find_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("how", [{"batch_size": 0}, {"num_workers": -1}])
def test_what_computes_nothing_is_refused(how):
    with pytest.raises(UserError, match="give"):
        Computing(**how)


def test_a_fingerprint_is_of_weights_and_of_what_is_done_to_images(classifier_run):
    one, same, other = (open_classifier(classifier_run(seed=seed)) for seed in (0, 0, 1))
    named = open_classifier(classifier_run(classes=("a", "b", "c")))
    elsewhere = replace(one, card=replace(one.card, commit="of another version"))
    assert fingerprint(one) == fingerprint(same) == fingerprint(elsewhere)
    assert len({fingerprint(each) for each in (one, other, named)}) == 3


def test_few_images_need_no_loader_processes():
    assert Computing().workers_for(10) == 0
    assert 1 <= Computing().workers_for(10_000) <= 8
    assert Computing(num_workers=3).workers_for(10) == 3
