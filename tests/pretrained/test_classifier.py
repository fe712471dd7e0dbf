import json
from dataclasses import replace

import pytest
import safetensors.torch
import torch

from ssl_swin.models.classifier import Classifier
from ssl_swin.pretrained.card import EncoderCard, write_encoder
from ssl_swin.pretrained.classifier import (
    TASK_VERSION,
    ClassifierCard,
    open_classifier,
    read_classifier_card,
    write_classifier,
)
from ssl_swin.pretrained.mismatch import PretrainedMismatch
from ssl_swin.pretrained.open import find_weights, open_encoder
from ssl_swin.record.run_folder import RunFolder

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLASSES = ("dress", "hat", "T-shirt, long")


@pytest.fixture
def classifier(tiny):
    return Classifier(tiny(), len(CLASSES))


@pytest.fixture
def card(classifier):
    return ClassifierCard(
        classifier.encoder.architecture(), CLASSES, MEAN, STD, 64, samples_seen=7, epoch=2
    )


def test_what_is_written_is_read_from_the_file_and_from_the_run_folder(classifier, card, tmp_path):
    folder, images = RunFolder(tmp_path), torch.randn(2, 3, 64, 64)
    write_classifier(folder.classifier, classifier.state_dict(), card)
    for source in (folder.root, folder.classifier):
        opened = open_classifier(source)
        assert opened.card == card
        assert not opened.classifier.training
        assert torch.equal(opened.classifier(images), classifier.eval()(images))
    assert json.loads((tmp_path / "classifier.json").read_text())["classes"] == [*CLASSES]


def test_weights_in_double_stay_in_double(classifier, card, tmp_path):
    write_classifier(tmp_path / "c.safetensors", classifier.double().state_dict(), card)
    opened = open_classifier(tmp_path / "c.safetensors").classifier
    assert torch.equal(opened.head.weight, classifier.head.weight)


def test_its_encoder_is_an_encoder_with_a_card(classifier, card, tmp_path):
    path = tmp_path / "classifier.safetensors"
    write_classifier(path, classifier.state_dict(), card)
    weights, own = find_weights(path), classifier.encoder.state_dict()
    assert weights.state.keys() == own.keys()
    assert all(torch.equal(weights.state[name], value) for name, value in own.items())
    assert (weights.mean, weights.std, weights.card.samples_seen) == (MEAN, STD, 7)
    assert open_encoder(path).report.missing == ()


def test_a_card_of_another_version_or_without_a_field_is_refused(card):
    with pytest.raises(PretrainedMismatch, match="format_version=99"):
        ClassifierCard.from_json(replace(card, format_version=99).to_json())
    values = json.loads(card.to_json())
    del values["classes"]
    with pytest.raises(PretrainedMismatch, match="classes"):
        ClassifierCard.from_json(json.dumps(values))


def test_what_is_no_classifier_is_refused_with_what_to_do(tiny, card, classifier, tmp_path):
    def refused(source, match):
        with pytest.raises(PretrainedMismatch, match=match) as caught:
            open_classifier(source)
        assert "\n" not in str(caught.value)

    refused(tmp_path / "none", "there is no such run folder or file; give a finished fine-tuning")
    refused(tmp_path, "it is no run folder, or its fine-tuning has not finished")
    (tmp_path / "config.yaml").write_text("run_dir: run\n")
    refused(tmp_path, "a pretraining, which knows no classes and has not finished")
    (tmp_path / "config.yaml").write_text("num_classes: 3\n")
    refused(tmp_path, "it is no run folder, or its fine-tuning has not finished")
    encoder, path = tiny(), tmp_path / "encoder.safetensors"
    write_encoder(path, encoder.state_dict(), EncoderCard.of(encoder, MEAN, STD))
    refused(tmp_path, "an earlier release finished it: the same ssl-swin finetune command")
    refused(path, "is no classifier of ssl-swin finetune")
    for share in (0.6, 0.0):
        masked = EncoderCard.of(encoder, MEAN, STD, mask_patch_size=16, mask_ratio=share)
        write_encoder(path, encoder.state_dict(), masked)
        refused(tmp_path, "a pretraining, which knows no classes: fine-tune it first")
    other = tmp_path / "weights.pth"
    torch.save(classifier.state_dict(), other)
    refused(other, "is no classifier of ssl-swin finetune")
    assert read_classifier_card(other) is None
    whole = tmp_path / "whole.safetensors"
    write_classifier(whole, classifier.state_dict(), card)
    whole.write_bytes(whole.read_bytes()[:500])
    refused(whole, "not a complete safetensors file")
    metadata = {"ssl_swin_classifier": card.to_json()}
    state = {"head.weight": torch.zeros(3, 32)}
    safetensors.torch.save_file(state, whole, metadata)
    refused(whole, "the weights do not fit the model")


def test_a_card_says_which_task_and_one_that_says_none_is_of_one_class(card):
    text = card.to_json()
    assert not {"task", "target_mean", "target_std"} & {*json.loads(text)}  # as in release 0.3
    assert ClassifierCard.from_json(text).task == "single-label"
    scale = {"target_mean": (10.0,) * 3, "target_std": (2.0,) * 3}
    numbers = replace(card, task="regression", format_version=TASK_VERSION, **scale)
    assert ClassifierCard.from_json(numbers.to_json()) == numbers


def test_outputs_are_probabilities_or_numbers_by_the_task(card):
    outputs = torch.tensor([[0.0, 1.0, -1.0]])
    assert torch.equal(card.answers(outputs), outputs.softmax(dim=1))
    several = replace(card, task="multi-label")
    assert torch.equal(several.answers(outputs), outputs.sigmoid())
    scale = {"target_mean": (10.0, 20.0, 0.0), "target_std": (2.0, 3.0, 1.0)}
    assert replace(card, task="regression", **scale).answers(outputs).tolist() == [[10, 23, -1]]
