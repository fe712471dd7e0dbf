from dataclasses import replace

import pytest

from ssl_swin.config.data import DataConfig, LabelledDataConfig
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
