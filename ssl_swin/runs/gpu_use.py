"""What GPUs could do of a run at most, and the callback that holds the run against it."""

from dataclasses import replace

import torch

from ssl_swin.config.run import FinetuneConfig, PretrainConfig, RunConfig
from ssl_swin.models.flops import count_flops
from ssl_swin.models.simmim import SimMIM
from ssl_swin.runs.build import Run
from ssl_swin.runs.network import build_network
from ssl_swin.training.utilisation import Utilisation, asks_nvml, peak_flops


def step_flops(config: RunConfig) -> int:
    """Return the operations that forward and backward of one image need, without taking them.

    Products and attention, as written down; what is computed again to save memory is not needed.
    """
    plain = replace(config.training, fused_attention="off", activation_checkpointing=False)
    with torch.device("meta"):
        network = build_network(replace(config, training=plain)).to("meta")  # tables of numpy, too
        images = torch.empty(1, len(config.data.mean), *network.encoder.img_size)
        if isinstance(config, FinetuneConfig) or not isinstance(network, SimMIM):
            return count_flops(lambda: network(images).sum().backward())
        index = torch.zeros(1, dtype=torch.int64, device="cpu")
        mask = network.random_mask(index, mask_ratio=config.mask.mask_ratio)
        mask = mask if network.leaves_out else mask.to("meta")
        return count_flops(lambda: network(images, mask).backward())


def most_images_per_s(config: RunConfig, card: str) -> float | None:
    """Return how many images all GPUs of a run could train on in a second, by their maker.

    None if the card, as torch names it, is not known, or images grow.
    """
    if isinstance(config, PretrainConfig) and config.progressive:
        return None
    training = config.training
    rounded = training.precision == "fp32" and training.tf32
    peak = peak_flops(card, "tf32" if rounded else training.precision)
    if peak is None:
        return None
    return peak * training.devices * training.num_nodes / step_flops(config)


def utilisation(run: Run, every_steps: int) -> list[Utilisation]:
    """Return what logs how much of the GPUs is used; nothing on CPUs."""
    if not run.on_gpu or not torch.cuda.is_available():  # the Trainer refuses that
        return []
    most = most_images_per_s(run.config, torch.cuda.get_device_name(run.device))
    return [Utilisation(every_steps, most, asks_nvml(run.device))]
