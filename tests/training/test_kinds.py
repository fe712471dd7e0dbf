"""Every kind of mask, target, loss and decoder through whole runs: killed, on other ranks.

A kind is covered by being listed: each run hides by another mask, and predicts all targets at once,
by all losses in turn, each by a decoder of the run's kind.
"""

import signal
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import torch

from ssl_swin.config.model import DecoderConfig, HeadConfig, MaskConfig, TargetConfig
from ssl_swin.models.decoders import DECODERS
from ssl_swin.models.encoder import build_encoder
from ssl_swin.models.losses import LOSSES
from ssl_swin.models.masking import MASKS
from ssl_swin.models.targets import TARGETS
from ssl_swin.pretrained.load import save_encoder
from tests.training.launch import finish, interrupt, pretrain_config, start, train
from tests.training.test_elastic import points
from tests.training.test_interruption import assert_equal, checkpoint

# each target at the last stage, by a loss of its own, one at its start, everywhere, and one
# before it; a grey pixel has no direction, so those of pixels are not held by their cosine
OF_FEATURES = ("hog", "teacher", "teacher_pooled")
OF_PIXELS = [one for one in TARGETS if one not in OF_FEATURES]
PLAIN, OTHERS = [one for one in LOSSES if one != "cosine"], [*LOSSES][::-1]
PAIRS = [*zip(OF_PIXELS, cycle(PLAIN)), *zip(OF_FEATURES, cycle(OTHERS))]
LAST = [HeadConfig(2, *pair) for pair in PAIRS]
assert {one.loss for one in LAST} == {*LOSSES}
START = HeadConfig(2, "pixels", "l2", at="start", where="everywhere")
HEADS = (HeadConfig(1, "pixels", weight=0.5), START, *LAST)
OPTIONS = {"norm_size": 5, "cell_size": 4, "hog_bins": 4, "teacher_stage": 3, "teacher_at": "start"}
DECODER = {"dim": 8, "depth": 1, "num_heads": 2, "positions": "sin-cos"}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> Path:
    torch.manual_seed(5)
    sizes = {"window_size": 4, "embed_dim": 8, "depths": (1, 1, 1), "num_heads": (1, 1, 2)}
    encoder = build_encoder("swin_tiny_patch4_window7_224", 32, 1, **sizes)
    path = tmp_path_factory.mktemp("teacher") / "encoder.safetensors"
    save_encoder(encoder, path, (0.5,), (0.25,))
    return path


def config(run_dir, shards, kinds, teacher, **training):
    mask, token, decoder = kinds
    config = pretrain_config(run_dir, shards, **training)
    target = TargetConfig(**OPTIONS, teacher=str(teacher))
    token = "embedded" if mask == "none" else token  # nothing is to be stood for
    decoder = "transformer" if token == "none" else decoder  # no other knows what is hidden
    config = replace(config, heads=HEADS, target=target, mask=MaskConfig(mask, 8, token=token))
    config = replace(config, decoder=DecoderConfig(decoder, **DECODER))
    optim = replace(config.optim, epochs=1, warmup_epochs=0)
    return replace(config, optim=optim)


NAMES = [f"stage{one.stage}{'_start' if one.at == 'start' else ''}_{one.target}" for one in HEADS]
# those of a square always, the others where there is time
TOKENS = get_args(get_type_hints(MaskConfig)["token"])
KINDS = zip(cycle(MASKS), cycle(reversed(TOKENS)), cycle(reversed(DECODERS)), strict=False)
KINDS = list(islice(KINDS, max(len(MASKS), len(DECODERS), len(TOKENS))))
SLOW = [pytest.param(kinds, marks=pytest.mark.slow) for kinds in KINDS if kinds[0] != "square"]
EACH = [*(kinds for kinds in KINDS if kinds[0] == "square"), *SLOW]


@pytest.mark.parametrize("kinds", EACH, ids=str)
def test_killed_it_ends_bit_equal(kinds, shards, teacher, tmp_path):
    straight = train(config(tmp_path / "straight", shards, kinds, teacher))
    killed = config(tmp_path / "killed", shards, kinds, teacher)
    assert interrupt(killed, 4, signal.SIGKILL) == {-signal.SIGKILL}
    assert finish(start(killed)) == {0}
    before, after = checkpoint(straight), checkpoint(tmp_path / "killed")
    for part in ("model", "optimizer", "step", "samples_seen", "metrics", "teacher"):
        assert_equal(before[part], after[part], part)
    assert not any("teacher" in name for name in before["model"])

    for where, num in (("train/loss", 8), ("heldout/heldout_loss", 1)):
        losses, parts = points(straight, where), [points(straight, f"{where}_{n}") for n in NAMES]
        assert len(losses) == num
        for step, loss in losses.items():
            total = sum(one.weight * part[step] for one, part in zip(HEADS, parts, strict=True))
            assert loss == pytest.approx(total, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
@pytest.mark.parametrize("kinds", KINDS, ids=str)
def test_on_other_ranks_it_learns_the_same(kinds, strategy, shards, teacher, tmp_path):
    curves = []
    for devices, micro in ((1, 24), (2, 5)):
        made = {"devices": devices, "micro_batch_size": micro, "precision": "fp64"}
        made |= {"strategy": strategy} if devices > 1 else {}
        run = train(config(tmp_path / str(devices), shards, kinds, teacher, **made))
        names = ["train/loss", *(f"train/loss_{name}" for name in NAMES), "heldout/heldout_loss"]
        curves.append([points(run, name) for name in names])
    for found, wanted in zip(*curves, strict=True):
        assert found == pytest.approx(wanted, rel=1e-9)
