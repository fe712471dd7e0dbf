from dataclasses import replace

import pytest
import torch

from ssl_swin.models.flops import count_flops
from ssl_swin.runs.build import build
from ssl_swin.runs.gpu_use import most_images_per_s, step_flops, utilisation
from ssl_swin.runs.network import build_network
from tests.training.launch import finetune_config, pretrain_config


@pytest.mark.parametrize("make", [pretrain_config, finetune_config])
def test_what_a_step_needs_is_counted_without_taking_it(tmp_path, tiny_shards, make):
    config = make(tmp_path / "run", tiny_shards([24]))
    network, found = build_network(config), step_flops(config)
    images = torch.zeros(1, len(config.data.mean), *network.encoder.img_size)
    forward = count_flops(lambda: network.encoder(images))
    assert 2 * forward < found < 4 * forward  # a backward needs twice the forward, less the first
    checkpointed = replace(config.training, activation_checkpointing=True)
    assert step_flops(replace(config, training=checkpointed)) == found


def test_the_images_of_all_gpus_add_up(tmp_path, tiny_shards):
    config = pretrain_config(tmp_path / "run", tiny_shards([24]))
    training = replace(config.training, precision="bf16", devices=2, num_nodes=3)
    config = replace(config, training=training)
    most = most_images_per_s(config, "NVIDIA A100-SXM4-80GB")
    assert most == pytest.approx(6 * 312e12 / step_flops(config))
    assert most_images_per_s(config, "a card of next year") is None


def test_on_a_cpu_there_is_nothing_to_log(tmp_path, tiny_shards):
    assert utilisation(build(pretrain_config(tmp_path / "run", tiny_shards([24]))), 5) == []
