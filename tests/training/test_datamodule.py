import os
import pickle
from collections import Counter
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ssl_swin.config.data import SetConfig
from ssl_swin.data.shards.local import LocalShards
from tests.training.launch import finetune_config, pretrain_config
from tests.training.tiny import built

BATCH, STEPS = 24, range(3, 7)


@pytest.fixture(scope="module")
def build(tiny_shards, tmp_path_factory):
    """Factory of datamodules of a run on 61 images, by the place of a process among others."""
    shards = tiny_shards([40, 21], mode="RGB")
    folder = tmp_path_factory.mktemp("datamodule")

    def make(rank=0, world_size=1, configure=pretrain_config, **data):
        config = configure(folder / "run", shards, micro_batch_size=7)
        data = {"num_workers": 0} | data
        run = built(replace(config, data=replace(config.data, **data)))
        run.datamodule.steps = STEPS.start, STEPS.stop
        run.datamodule.trainer = SimpleNamespace(global_rank=rank, world_size=world_size)
        return run.datamodule

    return make


def joined(batches):
    return {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}


@pytest.mark.parametrize("configure", [pretrain_config, finetune_config])
@pytest.mark.parametrize("world_size", [2, 3, 6])
def test_the_shares_of_all_ranks_are_the_global_batch(build, world_size, configure):
    module = partial(build, configure=configure)
    whole = list(module().train_dataloader())
    ranks = [list(module(rank, world_size).train_dataloader()) for rank in range(world_size)]
    assert len(whole) == len(STEPS)
    for step, expected in enumerate(whole):
        found = joined([shares[step] for shares in ranks])
        assert len(found["index"]) == BATCH
        for name, value in expected.items():
            assert torch.equal(found[name], value), name


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("world_size", [1, 2, 5])
def test_each_held_out_image_is_read_once_over_all_ranks(build, world_size, num_workers):
    modules = [build(rank, world_size, num_workers=num_workers) for rank in range(world_size)]
    batches = [batch for module in modules for batch in module.heldout_dataloader()]
    assert sorted(joined(batches)["index"].tolist()) == list(range(61))
    assert max(len(batch["index"]) for batch in batches) <= 7


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("mixed", [False, True])
def test_each_process_opens_a_shard_once_for_all_reads_of_a_block(
    tiny_shards, tmp_path, monkeypatch, num_workers, mixed
):
    if mixed:
        sets = tuple(SetConfig(str(tiny_shards([3] * 40)), 1.0) for _ in range(2))
        data = {"shards": None, "sets": sets}
    else:
        data = {"shards": str(tiny_shards([3] * 80))}
    config = pretrain_config(tmp_path / "run", tmp_path)
    data |= {"num_workers": num_workers, "block_size": 40, "val_shards": None}
    run = built(replace(config, data=replace(config.data, **data)))  # 10 steps: a block, all shards
    run.datamodule.steps = 0, 10
    run.datamodule.trainer = SimpleNamespace(global_rank=0, world_size=1)
    loader, opened = run.datamodule.train_dataloader(), Counter()
    processes = [pickle.loads(pickle.dumps(loader.dataset)) for _ in range(max(1, num_workers))]

    def count(path, *args, really=os.open, **options):
        opened[path] += 1
        return really(path, *args, **options)

    monkeypatch.setattr(os, "open", count)
    for step, share in enumerate(loader.batch_sampler):
        processes[step % len(processes)].__getitems__(share)
    tars = {path for path in opened if str(path).endswith(".tar")}
    assert len(tars) == 80
    assert max(opened[tar] for tar in tars) <= len(processes)


def test_what_can_not_stay_open_is_said(build, monkeypatch, capsys):
    monkeypatch.setattr(LocalShards, "keep_open", lambda _, num: num - 1)
    build().train_dataloader()
    assert "2 shards are read at once and 1 can stay open" in capsys.readouterr().out


def test_without_held_out_images_there_is_nothing_to_measure(build):
    module = build(val_shards=None)
    assert module.heldout_dataloader() is None
    assert module.fixed_images(4)["index"].tolist() == [0, 20, 40, 60]  # of the training set


@pytest.mark.parametrize(("num", "places"), [(1, [0]), (3, [0, 30, 60]), (100, range(61))])
def test_fixed_images_are_spread_over_the_set_and_always_the_same(build, num, places):
    first, again = (build().fixed_images(num) for _ in range(2))
    assert first["index"].tolist() == list(places)
    assert torch.equal(first["image"], again["image"])


def test_a_batch_on_its_device_is_the_batch_that_was_read(build):
    module = build(configure=finetune_config)
    batch = next(iter(module.train_dataloader()))
    moved = module.transfer_batch_to_device(dict(batch), torch.device("cpu"), 0)
    assert moved.keys() == {"image", "index", "epoch", "replaced", "label", "erased", "ids"}
    for name, value in batch.items():
        np.testing.assert_array_equal(moved[name], value)
    assert moved["label"].tolist() == [i % 10 for i in moved["index"].tolist()]
    there = module.transfer_batch_to_device(dict(batch), torch.device("meta"), 0)
    here = {name for name, value in there.items() if not value.is_meta}
    assert here == {"erased", "ids"}
    assert torch.equal(there["ids"], batch["index"])
