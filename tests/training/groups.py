"""The parameter groups of the published recipes, written down: layer, decay and rate of each name.

`python -m tests.training.groups` writes the records anew, for `git diff` to show what changed.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ssl_swin.command_line import read_config
from ssl_swin.config.model import ModelConfig
from ssl_swin.config.run import FinetuneConfig
from ssl_swin.runs.from_encoder import with_its_model
from ssl_swin.runs.network import build_classifier, build_simmim
from ssl_swin.training.curve import scaled_lr
from ssl_swin.training.optim import finetune_groups, pretrain_groups

RECORDS = Path(__file__).with_name("groups")
# a published recipe of fine-tuning -> that of its pretraining
PUBLISHED = {
    "swin_base_simmim": "swin_base_simmim_100ep",
    "swin_base_simmim_800ep": "swin_base_simmim_800ep",
    "swin_large_simmim": "swin_large_simmim_800ep",
    "swinv2_base_simmim_800ep": "swinv2_base_simmim_800ep",
    "vit_base_simmim": "vit_base_simmim_800ep",
}
NUM_CLASSES = 1000
_SHORT = ("encoder.backbone.", "encoder.")


def groups_of(kind: str, name: str) -> tuple[list[dict[str, Any]], float]:
    """Return the groups of a recipe, built without memory, and the rate of a step at its peak."""
    config, life = read_config(kind, [f"configs/{kind}/{name}.yaml"])
    peak = scaled_lr(config.optim.base_lr, config.training.global_batch_size)
    how = config.optim.weight_decay, config.optim.layer_decay
    with torch.device("meta"):
        if isinstance(config, FinetuneConfig):
            whole, _ = with_its_model(config, life["given"], model_before(name))
            whole = replace(whole, num_classes=NUM_CLASSES)
            return finetune_groups(build_classifier(whole), *how), peak
        return pretrain_groups(build_simmim(config), *how), peak


def model_before(name: str) -> ModelConfig:
    """Return the model of the pretraining that a fine-tuning begins with."""
    before, _ = read_config("pretrain", [f"configs/pretrain/{PUBLISHED[name]}.yaml"])
    return before.model


def lines(kind: str, name: str) -> Iterator[str]:
    """Yield a group, its decay and its rate at the peak, and its parameters beneath."""
    groups, peak = groups_of(kind, name)
    for group in groups:
        rate = peak * group["lr_scale"]
        yield f"{group['name']}: weight_decay {group['weight_decay']:g}, rate {rate:.6g}"
        yield from (f"  {short(one)}" for one in group["param_names"])


def short(name: str) -> str:
    """Return the name of a parameter without what nearly all begin with."""
    for start in _SHORT:
        name = name.removeprefix(start)
    return name


def record(kind: str, name: str) -> Path:
    """Return where the groups of a recipe are written down."""
    return RECORDS / f"{kind}_{name}.txt"


def recipes() -> Iterator[tuple[str, str]]:
    """Yield all published recipes, as kind and name."""
    for tuned, pretrained in PUBLISHED.items():
        yield "finetune", tuned
        yield "pretrain", pretrained


if __name__ == "__main__":
    RECORDS.mkdir(exist_ok=True)
    for one in recipes():
        record(*one).write_text("\n".join([*lines(*one), ""]), encoding="utf-8")
