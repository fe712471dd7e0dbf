"""Which parameters decay, which learn more slowly, and the optimiser over them."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from ssl_swin.errors import UserError
from ssl_swin.models.classifier import Classifier
from ssl_swin.models.encoder import Encoder, HasPlaceEmbeddings, HasScoreParameters
from ssl_swin.models.simmim import SimMIM

Group = dict[str, Any]  # a group of a torch optimiser
_ENCODER = "encoder."  # how the names of an encoder's parameters begin in the models trained here


def pretrain_groups(
    model: SimMIM, weight_decay: float, layer_decay: float = 1.0, decays_places: bool = True
) -> list[Group]:
    """Split the trained parameters into those that decay and those that do not.

    Vectors, biases and what the encoder exempts do not decay. Position tables do, and so does what
    makes scores in their place: the official code means to exempt them, but looks for them under a
    name they do not have; see `Quirks`, of which `decays_places` is one.

    With a `layer_decay` below 1 each layer of the encoder learns slower than the one above it. What
    stands for hidden patches learns as fast as the decoder: weights to begin with mostly lack it.

    Returns:
        Two groups, ``decay`` first; see :func:`finetune_groups` for their fields. With a
        `layer_decay` below 1 as many and of such names as there.

    Raises:
        UserError: If layer_decay is outside (0, 1].

    Source:
        SimMIM code, optimizer.py, ``get_pretrain_param_groups``.
    """
    encoder = model.encoder
    exempt = of_places(encoder)
    if decays_places:
        exempt = encoder.no_decay() - encoder.position_tables().keys()
        if isinstance(encoder, HasScoreParameters):
            exempt -= encoder.score_parameters()
    if layer_decay != 1:
        return _groups_of_layers(model, weight_decay, layer_decay, exempt)
    decays = {"decay": weight_decay, "no_decay": 0.0}
    groups = {name: _group(name, decay, lr_scale=1.0) for name, decay in decays.items()}
    for name, parameter in _trained(model):
        _add(groups["decay" if _decays(name, parameter, exempt) else "no_decay"], name, parameter)
    return [group for group in groups.values() if group["params"]]


def of_places(encoder: Encoder) -> set[str]:
    """Return all that is learned of places, for scores or of hidden tokens: it should not decay."""
    tokens = encoder.no_decay() | encoder.mask_parameters()
    places = encoder.place_embeddings() if isinstance(encoder, HasPlaceEmbeddings) else {}
    return tokens | encoder.position_tables().keys() | places.keys()


def finetune_groups(
    model: Classifier, weight_decay: float, layer_decay: float, decays_places: bool = True
) -> list[Group]:
    """Group the trained parameters by layer, each layer learning slower than the one above it.

    Vectors, biases and what the encoder exempts, such as position tables, do not decay; a ViT's do
    in the official code, unless `decays_places` is off. The head is
    the last layer; a layer's rate is `layer_decay`, in (0, 1], times that of the layer above.

    Returns:
        Groups for a torch optimiser: ``params``, ``param_names``, ``weight_decay``, ``lr_scale``
        (the factor on the base learning rate; ``set_lr`` applies it, torch alone does not) and
        ``name``, such as ``layer_3_no_decay``.

    Raises:
        UserError: If layer_decay is outside (0, 1].

    Source:
        SimMIM code, optimizer.py, ``get_finetune_param_groups``.
    """
    exempt = model.encoder.no_decay() if decays_places else of_places(model.encoder)
    return _groups_of_layers(model, weight_decay, layer_decay, exempt)


def _groups_of_layers(
    model: SimMIM | Classifier, weight_decay: float, layer_decay: float, exempt: set[str]
) -> list[Group]:
    if not 0 < layer_decay <= 1:
        raise UserError(f"layer_decay={layer_decay} must be in (0, 1]; 1 turns it off")
    encoder, head = model.encoder, model.encoder.num_layers + 1
    of_masks = encoder.mask_parameters()
    groups: dict[str, Group] = {}
    for name, parameter in _trained(model):
        inside = name.removeprefix(_ENCODER)
        in_layers = inside != name and inside not in of_masks
        layer = encoder.layer_of(inside) if in_layers else head
        decays = _decays(name, parameter, exempt)
        key = f"layer_{layer}_{'decay' if decays else 'no_decay'}"
        if key not in groups:
            decay = weight_decay if decays else 0.0
            groups[key] = _group(key, decay, lr_scale=layer_decay ** (head - layer))
        _add(groups[key], name, parameter)
    return list(groups.values())


def adamw(
    groups: list[Group], lr: float, betas: tuple[float, float] = (0.9, 0.999), fused: bool = True
) -> torch.optim.AdamW:
    """Build the optimiser, fused into one pass over the parameters where their device allows.

    Not fused, it rounds as the official code does, and is several times slower.
    """
    devices = {parameter.device.type for group in groups for parameter in group["params"]}
    fused = fused and devices <= {"cpu", "cuda"}
    return torch.optim.AdamW(groups, lr=lr, betas=betas, eps=1e-8, fused=fused)


def clip(
    parameters: list[Tensor], max_norm: float | None, loss_scale: Tensor | None = None
) -> Tensor:
    """Scale the gradient down to `max_norm` if it is longer; return its norm before.

    Without a `max_norm` it stays as it is. A gradient of a scaled loss stays scaled, and is
    measured as if it were not; of one in parts the norm is that of all ranks' parts.
    """
    norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
    norm = norm if loss_scale is None else norm / loss_scale
    if max_norm is not None:
        nn.utils.clip_grads_with_norm_(parameters, max_norm, norm)
    return norm


def step_if(
    finite: Tensor, optimizer: torch.optim.Optimizer, loss_scale: Tensor | None = None
) -> None:
    """Take a step if the gradient is finite, a bool on the device; else change nothing.

    A fused optimiser looks there by itself, and divides the gradient by the `loss_scale`. For
    another one this waits.
    """
    if optimizer.param_groups[0]["fused"]:
        optimizer.found_inf = (~finite).float()  # type: ignore[attr-defined]
        optimizer.grad_scale = loss_scale  # type: ignore[attr-defined]
        optimizer.step()
    elif finite:
        for parameter in (one for group in optimizer.param_groups for one in group["params"]):
            if loss_scale is not None and parameter.grad is not None:
                parameter.grad.div_(loss_scale)
        optimizer.step()


def load_moments(optimizer: torch.optim.Optimizer, saved: dict[str, Any]) -> None:
    """Put the moments of a saved optimiser into another, by the names of their parameters.

    All else, such as weight decay, betas and which kernel computes them, stays as the other has it;
    torch's own loading brings back the saved options, and wants the same groups.
    """
    moments = {name: saved["state"].get(place) for name, place in _places(saved)}
    own = optimizer.state_dict()
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    known = {
        place: {key: like(parameters[place], value) for key, value in moments[name].items()}
        for name, place in _places(own)
        if moments.get(name) is not None
    }
    optimizer.load_state_dict(own | {"state": known})


def like(parameter: nn.Parameter, value: Any) -> Any:
    """Of a whole moment, or weight, of a parameter in parts, return a copy of this rank's part."""
    if not isinstance(parameter, DTensor) or value.shape != parameter.shape:
        return value
    place = parameter.device_mesh, parameter.placements
    return distribute_tensor(value, *place, src_data_rank=None).clone()


def _places(saved: dict[str, Any]) -> Iterable[tuple[str, int]]:
    """Yield name and number of each parameter of an optimiser's state."""
    for group in saved["param_groups"]:
        yield from zip(group["param_names"], group["params"], strict=True)


def _trained(model: nn.Module) -> Iterable[tuple[str, nn.Parameter]]:
    return (pair for pair in model.named_parameters() if pair[1].requires_grad)


def _decays(name: str, parameter: Tensor, exempt: set[str]) -> bool:
    vector_or_bias = parameter.ndim == 1 or name.endswith(".bias")
    return not vector_or_bias and name.removeprefix(_ENCODER) not in exempt


def _group(name: str, weight_decay: float, lr_scale: float) -> Group:
    options = {"weight_decay": weight_decay, "lr_scale": lr_scale, "name": name}
    return {"params": [], "param_names": [], **options}


def _add(group: Group, name: str, parameter: nn.Parameter) -> None:
    group["params"].append(parameter)
    group["param_names"].append(name)
