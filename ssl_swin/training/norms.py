"""How long gradient, weights and a step are, stage by stage, at the steps that are logged."""

from collections import defaultdict
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer
from torch import Tensor, nn

from ssl_swin.models.encoder import part_of
from ssl_swin.training.fsdp import is_sharded, on_this_rank
from ssl_swin.training.learner import Learner
from ssl_swin.training.loggers import log
from ssl_swin.training.looking import takes_part

KINDS = ("gradient", "parameter", "update")
_ENCODER = "encoder."
Parts = dict[str, list[nn.Parameter]]


def parts_of(network: nn.Module) -> Parts:
    """Group what is trained by the encoder's stages; else by where it is: the decoder, the head."""
    found: dict[str, list[nn.Parameter]] = defaultdict(list)
    encoder: Any = getattr(network, "encoder", None)
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        inside = encoder is not None and name.startswith(_ENCODER)
        part = part_of(encoder, name.removeprefix(_ENCODER)) if inside else name.split(".")[0]
        found[part].append(parameter)
    return dict(found)


class StepNorms:
    """Squared norms of each part in one step: of the gradient, the weights before, the change.

    All stays on the device. Between gradient and step it holds one copy of the weights, when what
    a backward keeps is no longer there. Of weights in parts, it measures this rank's.
    """

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self._found: list[Tensor] = []  # of each kind, (parts,)
        self._before: list[list[Tensor]] = []  # weights of each part

    @torch.no_grad()
    def before(self, loss_scale: Tensor | None) -> None:
        """Measure gradient and weights; see `StepWatch`."""
        here = [[on_this_rank(one) for one in part] for part in self.parts.values()]
        gradients = [
            [on_this_rank(one.grad) for one in part if one.grad is not None]
            for part in self.parts.values()
        ]
        gradient = _squares(gradients)
        self._found = [gradient if loss_scale is None else gradient / loss_scale**2, _squares(here)]
        self._before = [[one.clone() for one in part] for part in here]

    @torch.no_grad()
    def after(self) -> None:
        """Measure what the step has changed."""
        for before, part in zip(self._before, self.parts.values(), strict=True):
            torch._foreach_sub_(before, [on_this_rank(one) for one in part])
        self._found.append(_squares(self._before))
        self._before = []

    def squares(self) -> Tensor:
        """Return them, (kinds, parts)."""
        return torch.stack(self._found)


class Norms(Callback):
    """Logs the norms of every `every_steps`-th step. Rank 0 measures; all do, of weights in parts.

    It comes after `Scalars`, which waits for the device. A step that is not finite has no norm of
    its gradient, and its change is 0.
    """

    def __init__(self, every_steps: int) -> None:
        self.every_steps = every_steps
        self._parts: Parts = {}

    def on_train_start(self, trainer: Trainer, pl_module: Learner) -> None:
        """Find the parts, when weights are where they stay."""
        self._parts = parts_of(pl_module.network)

    def on_train_batch_start(self, trainer: Trainer, pl_module: Learner, *_: Any) -> None:
        """Watch the step that comes, if it is to be logged."""
        due = (pl_module.step + 1) % self.every_steps == 0
        pl_module.watch = StepNorms(self._parts) if due and takes_part(trainer) else None

    def on_train_batch_end(self, trainer: Trainer, pl_module: Learner, *_: Any) -> None:
        """Log what was found."""
        watch, pl_module.watch = pl_module.watch, None
        if not isinstance(watch, StepNorms):
            return
        squares = watch.squares()
        if is_sharded(trainer):
            squares = trainer.strategy.reduce(squares, reduce_op="sum")
        norms = squares.sqrt().tolist()
        log(
            trainer,
            {
                f"norm/{kind}_{part}": norm
                for kind, of_kind in zip(KINDS, norms, strict=True)
                for part, norm in zip(self._parts, of_kind, strict=True)
            },
        )


def _squares(parts: list[list[Tensor]]) -> Tensor:
    """Return the sum of squares of each part; 0 of one that has nothing."""
    norms = [nn.utils.get_total_norm(part) if part else None for part in parts]
    there = next(norm for norm in norms if norm is not None)
    return torch.stack([torch.zeros_like(there) if one is None else one for one in norms]) ** 2
