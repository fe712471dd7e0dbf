from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from ssl_swin.runs.build import Run, build_trainer
from ssl_swin.runs.few_images import FewImages, Tried, batch_of
from tests.training.launch import finetune_config, pretrain_config
from tests.training.tiny import built


def pretend(share, num_micro, on_gpu=False, **peaks):
    """Steps of a run whose weights take 100 bytes."""
    sizes = SimpleNamespace(shares=(share,), num_micro_batches=num_micro)
    module = SimpleNamespace(parameters=lambda: [torch.zeros(25, requires_grad=True)])
    run = SimpleNamespace(sizes=sizes, module=module, on_gpu=on_gpu, **peaks)
    return FewImages(run, seconds=3.0)


def tried(num, micro, step_s, taken):
    return Tried(num, micro, step_s, 1, {"resident": taken})


def test_time_and_memory_grow_by_the_image_as_between_two_sizes():
    steps = pretend(share=64, num_micro=4)
    steps.tried = [tried(1, 1, 1.5, 1000), tried(5, 5, 3.5, 1400)]
    assert steps.step_s() == 3.5 + 59 * 0.5
    # 11 images more of 100 bytes each, and gradients while the next micro-batch goes forward
    assert steps.peak() == {"resident": 1400 + 1100 + 100}
    assert not steps.is_whole


def test_what_was_taken_as_a_whole_is_not_foretold():
    steps = pretend(share=32, num_micro=2)
    steps.tried = [tried(1, 1, 0.2, 1000), tried(32, 16, 2.0, 1400)]
    assert steps.is_whole
    assert (steps.step_s(), steps.peak()) == (2.0, {"resident": 1400})


def test_noise_makes_no_step_shorter_than_its_images():
    steps = pretend(share=64, num_micro=4)
    steps.tried = [tried(1, 1, 2.0, 1500), tried(4, 4, 1.6, 1400)]
    assert steps.step_s() == pytest.approx(1.6 / 4 * 64)
    assert steps.peak() == {"resident": 1500}


@pytest.mark.parametrize(
    ("one_s", "num_micro", "on_gpu", "expected"),
    [
        (0.001, 4, False, (2, 16)),  # all of it is cheap
        (0.1, 4, False, (1, 16)),  # one micro-batch is
        (0.5, 4, False, (1, 6)),
        (5.0, 4, False, (1, 2)),  # two images tell how memory grows
        (5.0, 4, True, (2, 16)),
        (0.001, 1, False, (1, 64)),
    ],
)
def test_the_second_step_is_as_large_as_the_time_allows(one_s, num_micro, on_gpu, expected):
    assert pretend(64, num_micro, on_gpu)._next_size(one_s) == expected


@pytest.mark.parametrize("configure", [pretrain_config, finetune_config])
@pytest.mark.parametrize("seconds", [0.0, 1.0])
def test_a_run_takes_one_image_and_then_more(tmp_path, tiny_shards, configure, seconds):
    shards = tiny_shards([30, 20], mode="RGB")
    run = built(configure(tmp_path / "run", shards, micro_batch_size=8))
    steps = FewImages(run, seconds)
    run.datamodule.fixed = steps.first()
    build_trainer(run.config.training, [steps]).fit(run.module, datamodule=run.datamodule)
    first, last = steps.tried
    assert (first.num_images, first.micro_batch) == (1, 1)
    assert last.micro_batch > 1
    assert steps.step_s() > 0
    assert steps.peak()["resident"] >= first.peak["resident"]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_on_a_gpu_one_micro_batch_and_two_are_timed(tmp_path, tiny_shards, monkeypatch, precision):
    monkeypatch.setattr(Run, "on_gpu", property(lambda _: True))
    config = pretrain_config(tmp_path / "run", tiny_shards([30, 20]), micro_batch_size=8)
    run = built(replace(config, training=replace(config.training, precision=precision)))
    steps = FewImages(run, 0.0)
    run.datamodule.fixed = steps.first()
    build_trainer(run.config.training, [steps]).fit(run.module, datamodule=run.datamodule)
    assert [(one.num_images, one.micro_batch) for one in steps.tried] == [(8, 8), (16, 8)]
    assert steps.peak() == steps.tried[-1].peak


def test_images_are_repeated_where_there_are_too_few(tmp_path, tiny_shards):
    run = built(pretrain_config(tmp_path / "run", tiny_shards([30, 20])))
    batch = batch_of(run, 30)
    assert len(batch["image"]) == 30
    assert torch.equal(batch["image"][24:], batch["image"][:6])
