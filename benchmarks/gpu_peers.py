"""Others' train steps beside ours, for `gpu.py`."""

from collections.abc import Callable

import torch
from gpu_limits import synchronize
from gpu_steps import Case, Step, build, compile_as
from plain import Plain
from torch import nn
from train_step import CLIP_GRAD, LR, WEIGHT_DECAY, Given, TrainStep

from ssl_swin.models.blocks import fuse_attention
from ssl_swin.models.simmim import SimMIM


def timm_step(case: Case, device: torch.device) -> Step:
    """Train timm's Swin; images are floats and masks drawn already."""
    ours, given = _start(case, device)
    with device:  # as in `build`
        network = Plain(ours)
    fuse_attention(network, case.fused)
    compile_as(case, network)
    return TrainStep(network, given, case.precision == "bf16")


def official_step(case: Case, device: torch.device) -> Step:
    """A step in the style of the official code's loop, main_simmim.py, with torch's own AMP.

    The loader hands over floats and masks; each step copies them, scales the loss in fp16, clips,
    waits for the device and reads the loss.
    """
    ours, ready = _start(case, device)
    loaded = [one.cpu().pin_memory() if device.type == "cuda" else one for one in ready]
    with device:
        model = Plain(ours)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=WEIGHT_DECAY)
    half = torch.float16 if device.type == "cuda" else torch.bfloat16
    scaler = torch.amp.GradScaler(device.type)

    def step() -> float:
        there = [one.to(device, non_blocking=True) for one in loaded]
        with torch.autocast(device.type, half):
            loss = model(*there)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), CLIP_GRAD)
        scaler.step(optimizer)
        scaler.update()
        synchronize(device)
        return loss.item()

    return step


def hugging_face_step(case: Case, device: torch.device) -> Step:
    """Train SwinForMaskedImageModeling of transformers."""
    from hugging_face import HuggingFace  # late: transformers may not be installed

    ours, given = _start(case, device)
    with device:
        network = HuggingFace(ours, "sdpa" if case.fused else "eager")
    return TrainStep(network, given, case.precision == "bf16")


def _start(case: Case, device: torch.device) -> tuple[SimMIM, Given]:
    """Return our network, and what all networks are given."""
    module, batch = build(case, device)
    mask = module.masking.draw(batch["index"], 0)
    return module.network, Given(module.normalise(batch["image"]), mask)


PEERS: dict[str, Callable[[Case, torch.device], Step]] = {
    "timm": timm_step,
    "official style": official_step,
    "Hugging Face": hugging_face_step,
}
