"""Stop "fine-tune" on the route: which parts of an encoder stay as they are."""

import re
from typing import Literal

from torch import nn

from ssl_swin.errors import UserError
from ssl_swin.models.encoder import Encoder, part_of

_STAGE = re.compile(r"stage(\d+)")


def freeze(encoder: Encoder, part: int | Literal["encoder"]) -> None:
    """Let nothing of a part of an encoder be trained: the stem and so many stages, or all of it.

    A frozen parameter gets no gradient, no moments and no weight decay. The norm after the last
    stage belongs to that stage.

    Raises:
        UserError: If the encoder has fewer stages, or none.
    """
    if part == 0:
        return
    place = {name: part_of(encoder, name) for name, _ in encoder.named_parameters()}
    numbers = [int(found[1]) for one in place.values() if (found := _STAGE.fullmatch(one))]
    most = max(numbers, default=0)
    if part != "encoder" and part > most:
        raise UserError(
            f"finetune.freeze={part}, but this encoder has {most} stages; allowed are 0 to {most} "
            "and encoder"
        )
    frozen = {f"stage{number}" for number in numbers if part == "encoder" or number <= part}
    for name, where in place.items():
        if part == "encoder" or where in {"stem", *frozen}:
            encoder.get_parameter(name).requires_grad_(False)


def rest(module: nn.Module) -> None:
    """Set to eval what of a module is frozen, with all inside: there drop path skips nothing.

    A block whose parameters are all frozen is; one with a parameter that is trained is looked into.
    """
    trained = [one.requires_grad for one in module.parameters()]
    if not trained:
        return
    if not any(trained):
        module.eval()
        return
    for child in module.children():
        rest(child)
