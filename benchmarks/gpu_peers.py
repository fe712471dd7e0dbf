"""Others' train steps beside ours, for `gpu.py`."""

from collections.abc import Callable

import torch
from gpu_limits import synchronize
from gpu_steps import Case, Step, build
from plain import CLIP_GRAD, LR, WEIGHT_DECAY, Plain
from step import build_plain
from torch import nn

from ssl_swin.models.blocks import fuse_attention
from ssl_swin.models.masking import to_pixels, to_tokens


def timm_step(case: Case, device: torch.device) -> Step:
    """Train timm's Swin in the most ordinary way; images are floats and masks drawn already."""
    module, batch = build(case, device)
    with device:  # as in `build`
        training = build_plain(module, batch, bf16=case.precision == "bf16")
    fuse_attention(training.model, case.fused)
    return training.step


def official_step(case: Case, device: torch.device) -> Step:
    """A step in the style of the official code's loop, main_simmim.py, with torch's own AMP.

    The loader hands over floats and masks; each step copies them, scales the loss in fp16, clips,
    waits for the device and reads the loss.
    """
    module, batch = build(case, device)
    mask = module.masking.draw(batch["index"], 0)
    size, patch = module.masking.mask_patch_size, module.network.encoder.patch_size
    ready = (
        module.normalise(batch["image"]),
        to_tokens(mask, size // patch).float(),
        to_pixels(mask, size).float(),
    )
    loaded = [one.cpu().pin_memory() if device.type == "cuda" else one for one in ready]
    with device:
        model = Plain(module.network)
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
    """SwinForMaskedImageModeling of transformers, with random weights."""
    from transformers import SwinConfig, SwinForMaskedImageModeling  # may not be installed

    module, batch = build(case, device)
    sizes = module.network.encoder.architecture()
    config = SwinConfig(
        image_size=case.img_size,
        window_size=case.window_size,
        encoder_stride=module.network.encoder.stride,
        drop_path_rate=0.0,
        attn_implementation="sdpa" if case.fused else "eager",
        **{name: sizes[name] for name in ("patch_size", "embed_dim", "depths", "num_heads")},
    )
    mask = module.masking.draw(batch["index"], 0)
    ratio = module.masking.mask_patch_size // module.network.encoder.patch_size
    hidden, images = to_tokens(mask, ratio).flatten(1), module.normalise(batch["image"])
    with device:
        model = SwinForMaskedImageModeling(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=WEIGHT_DECAY)

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=case.precision == "bf16"):
            loss = model(pixel_values=images, bool_masked_pos=hidden).loss
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP_GRAD)
        optimizer.step()

    return step


PEERS: dict[str, Callable[[Case, torch.device], Step]] = {
    "timm": timm_step,
    "official style": official_step,
    "Hugging Face": hugging_face_step,
}
