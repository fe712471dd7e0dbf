"""Out of memory in one line: how much was taken, whose fault it is, and what to do about it."""

from collections.abc import Iterator
from contextlib import contextmanager

from ssl_swin.config.settings import flatten
from ssl_swin.errors import MachineError, UserError
from ssl_swin.machine import as_text
from ssl_swin.runs.build import Run
from ssl_swin.training.memory import described, peak, ran_out, taken_by_others, total_bytes

# Settings on which the memory of a step depends; the network is the same in all lives of a run.
_SIZES = (
    *("global_batch_size", "micro_batch_size", "devices", "num_nodes", "strategy", "precision"),
    *("activation_checkpointing", "fused_attention", "compile"),
)
# Of a GPU more than this is not CUDA's and NCCL's own: another process is there.
_OWN_BYTES, _OWN_SHARE = 2 * 2**30, 0.1


@contextmanager
def memory_told(run: Run) -> Iterator[None]:
    """Make one line of an error that says that the device's memory was too small for training.

    Raises:
        UserError: If no step of this size was taken yet: it would fail again each time.
        MachineError: If such steps were taken, or others hold much of the device: then it may not.
    """
    try:
        yield
    except Exception as error:
        if not ran_out(error, run.on_gpu):
            raise
        raise _in_one_line(run) from error


def largest_micro_batch(run: Run) -> int:
    """Return the most images that a process of a run puts through the network at once."""
    return -(-max(run.sizes.shares) // run.sizes.num_micro_batches)


def advice(run: Run) -> str:
    """Say which settings take less memory, and what they are now."""
    size, training = largest_micro_batch(run), run.config.training
    smaller = 2 ** ((size - 1).bit_length() - 1) if size > 1 else 1  # the power of two below
    half = "fp16" if training.precision == "fp16" else "bf16"
    less = {  # what it is, and what takes less
        "micro_batch_size": (size, smaller),
        "activation_checkpointing": (training.activation_checkpointing, True),
        "precision": (training.precision, half),
    }
    told = [
        f"training.{name} is {_yaml(value)} already"
        if value == wanted
        else f"training.{name}={_yaml(wanted)} (now {_yaml(value)})"
        for name, (value, wanted) in less.items()
    ]
    return ", ".join(told)


def _yaml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _in_one_line(run: Run) -> UserError | MachineError:
    """Return what is to be raised; the model may have left its device, and others may fill it."""
    crowded = False
    try:
        figures = described(peak(run.device), run.device)
        others = taken_by_others(run.device) if run.on_gpu else 0
        if crowded := others > max(_OWN_BYTES, _OWN_SHARE * total_bytes(run.device)):
            figures += f", {as_text(others)} of it not this process's"
    except RuntimeError:  # there was no room to begin with
        figures, crowded = "the device has none left even for CUDA itself", True
    said = f"out of memory in step {run.module.step + 1}: {figures}"
    todo = f"one of {advice(run)}; --find-micro-batch says what fits"
    if crowded:
        return MachineError(
            f"{said}; another process is there: end it, or take another device; else try {todo}"
        )
    if _went_well_before(run):
        return MachineError(
            f"{said}, though steps of this size went well before; the same command goes on from "
            f"the last save; if it fails again, try {todo}"
        )
    return UserError(f"{said}; try {todo}")


def _went_well_before(run: Run) -> bool:
    """Whether steps of this size were taken, in this life or in the one that saved last."""
    state, now = run.start.state, flatten(run.config)
    if state is None:
        return run.module.step > 0
    then, names = state["config"], [f"training.{name}" for name in _SIZES]
    same = all(then.get(name, now.get(name)) == now.get(name) for name in names)
    return same or run.module.step > state["step"]
