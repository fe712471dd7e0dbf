"""What may be chosen of a Swin: its sizes, and the switches that take the paper's parts away."""

from collections.abc import Mapping
from typing import Any, Literal, TypedDict, get_args

from ssl_swin.errors import UserError
from ssl_swin.models.swin_block import Switches
from ssl_swin.models.windows import Padding, Shift

Position = Literal["relative", "absolute", "both", "none"]
Mixer = Literal["attention", "mlp"]
Implementation = Literal["ssl_swin", "timm"]


Window = int | tuple[int, ...] | tuple[tuple[int, int], ...]
_STAGES = 4  # of a Swin that gives no depths
_WINDOWS = {"window_size", "pretrained_window_sizes"}


class SwinSizes(TypedDict, total=False):
    """Sizes of a Swin; one that is not given, or None, is timm's of the name."""

    patch_size: int | None
    """Side of a token of the first stage in pixels."""
    window_size: Window | None
    """Side of the attention window in tokens; one number, or one per stage; or rows and columns,
    two numbers, or two per stage. Two numbers of two stages are a side of each."""
    embed_dim: int | None
    """Channels of the first stage."""
    depths: tuple[int, ...] | None
    """Blocks of each stage."""
    num_heads: tuple[int, ...] | None
    """Attention heads of each stage."""


class SwinV2Sizes(SwinSizes, total=False):
    """Sizes of a Swin V2."""

    pretrained_window_sizes: Window | None
    """Windows whose sides coordinates are scaled by, as `window_size`; 0 for those it has now."""


class SwinChoices(SwinSizes, total=False):
    """Sizes and switches; a switch that is not given, or None, is as in a Swin."""

    shift: Shift | None
    """Windows of every second block: "cyclic", or "padded" (the same, slower), or "none"."""
    position: Position | None
    """What is learned of places: "relative" bias, "absolute" embedding, "both", "none"."""
    mixer: Mixer | None
    """What mixes the tokens of a window: "attention", or "mlp", with padded shifts."""
    padding: Padding | None
    """Places of windows beyond the image: "attended" as zeros, as in timm, or "masked"."""
    implementation: Implementation | None
    """Whose code computes it: "ssl_swin", or "timm", as in releases before 0.3."""


class SwinV2Choices(SwinChoices, total=False):
    """Sizes and switches of a Swin V2, which has no `mixer` but attention."""

    pretrained_window_sizes: Window | None
    """As in `SwinV2Sizes`."""


_ALLOWED: dict[str, tuple[str, ...]] = {
    "shift": get_args(Shift),
    "position": get_args(Position),
    "mixer": get_args(Mixer),
    "padding": get_args(Padding),
    "implementation": get_args(Implementation),
}
_LIKE_TIMM = {"shift": "cyclic", "position": "relative", "mixer": "attention"} | {
    "padding": "attended"
}


def sizes_among(choices: Mapping[str, Any], is_v2: bool = False) -> SwinSizes:
    """Return the sizes that are given, those of windows in one form.

    Raises:
        UserError: If they do not fit each other, or one of the choices is none of a Swin.
    """
    allowed, kind = (SwinV2Choices, "Swin V2") if is_v2 else (SwinChoices, "Swin")
    if unknown := choices.keys() - allowed.__annotations__.keys():
        raise UserError(
            f"a {kind} has no {', '.join(sorted(unknown))}; it takes only "
            f"{', '.join(allowed.__annotations__)}"
        )
    if is_v2 and choices.get("mixer") == "mlp":
        raise UserError("mixer=mlp is of Swin (version 1) alone; leave it out, or take one")
    names = (SwinV2Sizes if is_v2 else SwinSizes).__annotations__
    given = {key: choices[key] for key in names if choices.get(key) is not None}
    num_stages = len(given.get("depths") or given.get("num_heads") or ()) or _STAGES
    for key in _WINDOWS & given.keys():
        if not isinstance(given[key], int):
            given[key] = _windows(key, given[key], num_stages)
        elif key != "window_size":
            given[key] = (given[key],) * num_stages
    stages = {key: value for key, value in given.items() if not isinstance(value, int)}
    if len({len(value) for value in stages.values()}) > 1:
        raise UserError(
            "one value per stage is needed, but "
            + ", ".join(f"{key} has {len(value)}" for key, value in stages.items())
            + "; give all of them the same length"
        )
    for key, value in given.items():
        least = 0 if key == "pretrained_window_sizes" else 1
        if min(side for of_stage in stages.get(key, [value]) for side in sides(of_stage)) < least:
            each = " each" if key in stages else ""
            raise UserError(f"{key}={value} must be at least {least}{each}")
    return given  # type: ignore[return-value]


def sides(size: int | tuple[int, int]) -> tuple[int, int]:
    """Return rows and columns of a window or an image, of which a side is given, or both."""
    return (size, size) if isinstance(size, int) else size


def _windows(key: str, given: Any, num_stages: int) -> tuple[Any, ...]:
    """Return a window for each stage, of which two numbers are the rows and columns of all."""
    for one in given:
        if not isinstance(one, int) and len(one) != 2:
            raise UserError(f"{key}={given} has a window of {len(one)} sides; give 2, or 1")
    if len(given) == 2 and num_stages != 2 and all(isinstance(one, int) for one in given):
        return (tuple(given),) * num_stages
    return tuple(one if isinstance(one, int) else tuple(one) for one in given)


def switches_among(choices: Mapping[str, Any]) -> dict[str, str]:
    """Return the switches that are other than in timm's Swin.

    Raises:
        UserError: If a switch has no such place, or two exclude one another.
    """
    given = {key: choices[key] for key in _ALLOWED if choices.get(key) is not None}
    for key, value in given.items():
        if value not in _ALLOWED[key]:
            raise UserError(f"{key}={value!r} must be one of {', '.join(_ALLOWED[key])}")
    switches = _unlike_timm(given)
    if switches and given.get("implementation") == "timm":
        raise UserError(
            f"timm has no Swin with {', '.join(f'{k}={v}' for k, v in switches.items())}; "
            "leave that out, or implementation=timm"
        )
    if given.get("mixer") == "mlp":
        given = {"shift": "padded", "position": "none"} | given
        _check_mlp(given)
    return _unlike_timm(given)


def all_switches(choices: Mapping[str, Any]) -> dict[str, Any]:
    """Return all switches, also those that are as in timm's Swin; refuse as `switches_among`."""
    return _LIKE_TIMM | switches_among(choices)


def switched(switches: Mapping[str, str], is_v2: bool = False) -> tuple[Switches, bool]:
    """Return how blocks are built, and whether places are embedded."""
    chosen = all_switches(switches)
    position = chosen["position"]
    blocks = Switches(
        shift=chosen["shift"],
        padding=chosen["padding"],
        relative_bias=position in ("relative", "both"),
        mixes_by_mlp=chosen["mixer"] == "mlp",
        is_v2=is_v2,
    )
    return blocks, position in ("absolute", "both")


def _unlike_timm(given: Mapping[str, str]) -> dict[str, str]:
    return {key: given[key] for key, usual in _LIKE_TIMM.items() if given.get(key, usual) != usual}


def _check_mlp(given: Mapping[str, str]) -> None:
    excluded = {"shift": ("cyclic",), "position": ("relative", "both")}
    wrong = [f"{key}={given[key]}" for key, values in excluded.items() if given[key] in values]
    if wrong:
        raise UserError(
            f"mixer=mlp does not go with {' and '.join(wrong)}: it can hide nothing and has no "
            "scores; take shift padded or none, and position none or absolute"
        )
