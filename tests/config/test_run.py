from dataclasses import replace

import pytest

from ssl_swin.config.data import DataConfig, LabelledDataConfig
from ssl_swin.config.model import HeadConfig
from ssl_swin.config.run import FinetuneConfig, PretrainConfig, kind_of

PRETRAIN = PretrainConfig("runs/a", DataConfig("shards"))
FINETUNE = FinetuneConfig("runs/a", LabelledDataConfig("shards"), num_classes=10)


@pytest.mark.parametrize("seed", [-1, 2**63])
@pytest.mark.parametrize("config", [PRETRAIN, FINETUNE])
def test_seeds_that_cannot_be_are_refused(config, seed):
    with pytest.raises(ValueError, match=f"seed={seed} must be 0 or more"):
        replace(config, seed=seed)


def test_one_class_alone_is_refused():
    with pytest.raises(ValueError, match="num_classes=1 must be 2 or more"):
        replace(FINETUNE, num_classes=1)


def test_every_config_knows_its_kind():
    assert (kind_of(PRETRAIN), kind_of(FINETUNE)) == ("pretrain", "finetune")


@pytest.mark.parametrize("best", ["knn", "heldout_loss"])
def test_the_best_by_what_is_not_measured_is_refused(best):
    with pytest.raises(ValueError, match=rf"training\.best={best} needs data\.\w+_shards"):
        replace(PRETRAIN, training=replace(PRETRAIN.training, best=best))


def test_the_best_is_chosen_by_nothing_unless_asked():
    assert PRETRAIN.training.best == "none"


def test_a_fine_tuning_takes_no_labelled_shards_beside_its_own():
    with pytest.raises(ValueError, match=r"data\.labelled_shards=more goes with pretraining"):
        LabelledDataConfig("shards", labelled_shards="more")


def test_rare_classes_do_not_count_twice():
    data, finetune = replace(FINETUNE.data, sampling="balanced"), FINETUNE.finetune
    balanced = replace(finetune, class_weights="balanced")
    with pytest.raises(ValueError, match="would count rare classes twice; give one of the two"):
        replace(FINETUNE, data=data, finetune=balanced)


@pytest.mark.parametrize(
    ("config", "best", "message"),
    [
        (FINETUNE, "knn", "training.best=knn goes with pretraining"),
        (FINETUNE, "auroc", "training.best=auroc needs data.val_shards; give them"),
        (PRETRAIN, "auroc", "training.best=auroc goes with fine-tuning"),
    ],
)
def test_the_best_is_by_what_a_run_measures(config, best, message):
    with pytest.raises(ValueError, match=message):
        replace(config, training=replace(config.training, best=best))


def test_the_head_alone_is_not_all_of_a_training():
    finetune = replace(FINETUNE.finetune, head_epochs=100)
    with pytest.raises(ValueError, match=r"finetune.head_epochs=100 must be less than optim.epo"):
        replace(FINETUNE, finetune=finetune)


def test_only_a_fine_tuning_has_a_moving_average():
    with pytest.raises(ValueError, match=r"training.ema_decay=0.5 goes with fine-tuning"):
        replace(PRETRAIN, training=replace(PRETRAIN.training, ema_decay=0.5))


@pytest.mark.parametrize("number", [float("inf"), float("nan")])
def test_numbers_that_are_not_finite_are_refused_wherever_they_stand(number):
    said = "must be (finite|greater than 0)"
    with pytest.raises(ValueError, match=f"loss_beta={number} {said}"):
        replace(PRETRAIN, loss_beta=number)
    with pytest.raises(ValueError, match=said):
        replace(PRETRAIN, heads=(HeadConfig(2, weight=number),))
    for config in (PRETRAIN, FINETUNE):
        with pytest.raises(ValueError, match=r"optim\.weight_decay=(inf|nan) must be"):
            replace(config, optim=replace(config.optim, weight_decay=number))


def test_what_stands_for_no_pixel_may_be_none():
    bands = {"dtype": "float32", "mean": (0.0,), "std": (1.0,)}
    data = DataConfig("shards", nodata=float("nan"), **bands)
    assert PretrainConfig("runs/a", data).data.nodata != 0
