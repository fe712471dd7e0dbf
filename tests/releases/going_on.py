"""What is compared of a run that goes on: its ids and masks, and the weights that it ends with."""

import platform
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ssl_swin.config.run import PretrainConfig, RunConfig
from ssl_swin.models.swin import SwinEncoder
from ssl_swin.pretrained.open import find_weights, load_into
from ssl_swin.runs.build import build


def here() -> dict[str, str]:
    """Name what decides how sums are rounded: the processor, torch, and its instruction set."""
    described = {"processor": platform.processor()}
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
        facts = {
            name.strip(): value.strip() for name, _, value in (x.partition(":") for x in lines)
        }
        for name in ("model name", "cpu family", "model", "stepping"):
            described[name] = facts.get(name, "")
    instructions = torch.backends.cpu.get_cpu_capability()
    return described | {"torch": torch.__version__, "instructions": instructions}


def remaining(config: RunConfig) -> dict[str, np.ndarray]:
    """Return ids and passes of the steps left, int64 (steps, batch), and masks as packed bits."""
    pretraining = isinstance(config, PretrainConfig)
    run = build(config)
    draws = [run.order.share(step) for step in range(run.module.step, run.sizes.stop_step)]
    index = np.stack([draw.index for draw in draws])
    epoch = np.stack([np.broadcast_to(draw.epoch, draw.index.shape) for draw in draws])
    found = {"ids": index, "epochs": epoch.copy()}
    if pretraining:
        flat = torch.from_numpy(index.ravel()), torch.from_numpy(epoch.ravel())
        found["masks"] = np.packbits(run.module.masking.draw(*flat).flatten(1).numpy(), axis=1)
    return found


def weights(run: Path) -> dict[str, Tensor]:
    """Return the weights of a run's last checkpoint."""
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["model"]


def encode(run: Path) -> Tensor:
    """Return what a run's encoder makes of four fixed images."""
    found = find_weights(run)
    state, card = found.state, found.card
    assert card is not None
    encoder = SwinEncoder(**card.architecture).double().eval()
    load_into(encoder, state, card)
    images = torch.linspace(-2, 2, 4 * 32 * 32, dtype=torch.float64).view(4, 1, 32, 32).sin()
    with torch.no_grad():
        return encoder(images)
