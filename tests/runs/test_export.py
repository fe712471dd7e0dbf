import json
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from ssl_swin.pretrained.classifier import open_classifier
from ssl_swin.pretrained.open import find_weights
from ssl_swin.runs.export import (
    complete,
    export_all,
    export_classifier,
    export_encoder,
    summarise,
)
from tests.training.launch import finetune_config, pretrain_config
from tests.training.tiny import built


@pytest.fixture
def run_of(tmp_path, tiny_shards):
    """Factory of runs of two steps an epoch that have done five steps."""
    shards = tiny_shards([30, 20], mode="RGB")

    def make(configure, **changes):
        run = built(replace(configure(tmp_path / "run", shards), **changes))
        run.module.step = 5
        return run

    return make


def test_an_encoder_is_exported_as_it_is_with_what_it_has_seen(run_of, tmp_path):
    run, path = run_of(pretrain_config), tmp_path / "encoder.safetensors"
    export_encoder(run, path, run.module.state_dict())
    found = find_weights(path)
    state, card = found.state, found.card
    weights = run.module.network.encoder.state_dict()
    assert state.keys() == weights.keys()
    assert all(torch.equal(state[name], value) for name, value in weights.items())
    assert (card.mean, card.std) == (run.config.data.mean, run.config.data.std)
    written = json.loads(path.with_suffix(".json").read_text())
    assert (written["samples_seen"], written["epoch"]) == (5 * 24, 2)
    assert (written["mask_patch_size"], written["mask_ratio"]) == (8, 0.6)
    assert written["commit"]


def test_a_classifier_s_encoder_has_no_masks(run_of, tmp_path):
    run = run_of(finetune_config)
    export_encoder(run, tmp_path / "encoder.safetensors", run.module.state_dict())
    written = json.loads((tmp_path / "encoder.json").read_text())
    assert (written["mask_patch_size"], written["mask_ratio"]) == (None, None)


def test_a_classifier_is_exported_with_its_classes_and_what_images_have_to_be(run_of, tmp_path):
    run, path = run_of(finetune_config), tmp_path / "classifier.safetensors"
    export_classifier(run, path, run.module.state_dict())
    opened, network = open_classifier(path), run.module.network
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(opened.classifier(images), network.eval()(images))
    card, data = opened.card, run.config.data
    assert card.classes == tuple("0123456789")
    assert (card.mean, card.std) == (data.mean, data.std)
    assert (card.img_size, card.crop_pct, card.interpolation) == (32, 1.0, "bicubic")
    assert (card.decoder, card.max_pixels) == (data.decoder, data.max_pixels)
    assert (card.samples_seen, card.epoch) == (5 * 24, 2)
    assert find_weights(path).card.architecture == network.encoder.architecture()


QUALITY = {
    "knn": 41.0,
    "best_knn": 42.0,
    "rankme": 9.5,
    "feature_std": 0.5,
    "mean_cosine": 0.8,
}


def test_the_best_encoder_of_a_pretraining_is_kept_and_of_a_fine_tuning_nothing(run_of):
    for configure, kept in ((pretrain_config, True), (finetune_config, False)):
        run = run_of(configure)
        export_all(run, "best", run.module.state_dict())
        assert run.start.folder.best_encoder.is_file() == kept
        shutil.rmtree(run.start.folder.root, ignore_errors=True)


def test_what_is_kept_along_the_way_is_kept_by_its_epoch(run_of):
    run = run_of(finetune_config)
    export_all(run, 2, run.module.state_dict())
    export_all(run, None, run.module.state_dict())
    root = run.start.folder.root
    names = {str(path.relative_to(root)) for path in root.rglob("*.safetensors")}
    assert names == {
        "encoder.safetensors",
        "classifier.safetensors",
        "encoders/epoch-0002.safetensors",
        "classifiers/epoch-0002.safetensors",
    }


def test_a_pretraining_is_summarised(run_of):
    run = run_of(pretrain_config, seed=3)
    run.module.metrics = {
        "train_loss": 0.5,
        "heldout_loss": 0.6,
        "bad_samples": 2.0,
        "bad_steps": 3,
    } | QUALITY
    summary = summarise(run, lives=1, seconds=9.0, peak_memory={"resident": 7})
    assert (summary.kind, summary.name, summary.seed) == ("pretrain", "run", 3)
    assert (summary.step, summary.epochs, summary.samples_seen) == (5, 2.5, 120)
    assert (summary.train_loss, summary.heldout_loss) == (0.5, 0.6)
    assert (summary.bad_samples, summary.bad_steps) == (2, 3)
    assert {name: getattr(summary, name) for name in QUALITY} == QUALITY
    assert (summary.lives, summary.seconds) == (1, 9.0)
    assert summary.peak_memory_bytes == {"resident": 7}
    assert (summary.top1, summary.num_labels, summary.start) == (None, None, None)


def test_a_fine_tuning_tells_its_labels_and_where_it_started(run_of):
    run = run_of(finetune_config)
    run.module.metrics = {"top1": 50.0, "top5": 90.0, "best_top1": 60.0}
    summary = summarise(run, lives=1, seconds=1.0)
    assert (summary.kind, summary.num_labels, summary.start) == ("finetune", 50, "scratch")
    assert summary.num_classes == 10
    assert (summary.top1, summary.top5, summary.best_top1) == (50.0, 90.0, 60.0)


def test_a_finished_run_that_lacks_a_file_gets_it_where_that_can_be(run_of):
    run = run_of(finetune_config)
    folder = run.start.folder
    folder.classifier.mkdir(parents=True)
    encoder, classifier = complete(run)
    assert encoder == f"{folder.encoder} was missing or cut off, and is written anew"
    said = f"warning: {folder.classifier}, which is missing or cut off, cannot be written: "
    assert classifier.startswith(said)
    folder.classifier.rmdir()
    (line,) = complete(run)
    assert line == f"{folder.classifier} was missing or cut off, and is written anew"
    assert open_classifier(folder.root).card.classes == run.start.classes
    assert json.loads(folder.classes.read_text()) == [*run.start.classes]
    assert complete(run) == []


def test_a_finished_run_whose_encoder_was_cut_off_gets_it_anew(run_of):
    run = run_of(pretrain_config)
    encoder = run.start.folder.encoder
    assert len(complete(run)) == 1
    whole = load_file(encoder)
    encoder.write_bytes(encoder.read_bytes()[:-10])
    assert complete(run) == [f"{encoder} was missing or cut off, and is written anew"]
    assert load_file(encoder).keys() == whole.keys()
    assert complete(run) == []
