"""Weights that do not fit: one exception, and the one place that compares keys and shapes."""

from collections.abc import Collection, Mapping

from torch import Tensor

from ssl_swin.errors import UserError

_SHOWN = 5


class PretrainedMismatch(UserError):
    """Given weights cannot be loaded into the model that was built."""


def check_state(
    given: Mapping[str, Tensor], expected: Mapping[str, Tensor], may_be_missing: Collection[str]
) -> tuple[str, ...]:
    """Compare weights with a model's own ``state_dict()``; return the names they lack and may lack.

    Raises:
        PretrainedMismatch: If other names are missing, names are unknown or of another shape, or
            a weight is not finite.
    """
    missing = [key for key in expected if key not in given]
    problems = {
        "missing": [key for key in missing if key not in may_be_missing],
        "unknown": [key for key in given if key not in expected],
        "of another shape": [
            f"{key} {tuple(tensor.shape)} instead of {tuple(expected[key].shape)}"
            for key, tensor in given.items()
            if key in expected and tensor.shape != expected[key].shape
        ],
    }
    if any(problems.values()):
        told = "; ".join(f"{len(p)} {what}: {some(p)}" for what, p in problems.items() if p)
        raise PretrainedMismatch(
            f"the weights do not fit the model: {told}; allowed to be missing: "
            f"{', '.join(may_be_missing) or 'nothing'}; build the model with the architecture of "
            "the weights"
        )
    if broken := [name for name, tensor in given.items() if not _is_finite(tensor)]:
        raise PretrainedMismatch(
            f"{len(broken)} of the weights hold infinite numbers or none: {some(broken)}; give "
            "weights of an earlier checkpoint, or copy the file again"
        )
    return tuple(missing)


def _is_finite(tensor: Tensor) -> bool:
    return tensor.is_meta or bool(tensor.isfinite().all())


def shape_of(
    state: Mapping[str, Tensor], name: str, num_axes: int, kind: str = "a Swin"
) -> tuple[int, ...]:
    """Return a tensor's shape, if it is there and has so many axes, none of them empty.

    Raises:
        PretrainedMismatch: If it is not what a network of this kind has.
    """
    shape = tuple(state[name].shape) if name in state else ()
    if len(shape) == num_axes and all(shape):
        return shape
    was = f"has shape {shape}" if name in state else "is missing"
    what = "these are weights for volumes" if len(shape) == 5 else "the file is damaged"
    raise PretrainedMismatch(
        f"{name.removeprefix('backbone.')} {was}, and in {kind} it has {num_axes} axes: {what}; "
        "give another"
    )


def some(names: Collection[str]) -> str:
    """List the first of many names."""
    return ", ".join([*names][:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
