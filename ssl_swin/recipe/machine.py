"""What the machine is: GPUs and their memory, the partitions of a SLURM, or only a CPU."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from ssl_swin import main_memory
from ssl_swin.cluster.queue import list_partitions
from ssl_swin.errors import UserError
from ssl_swin.machine import usable_cores

Kind = Literal["auto", "cpu", "gpu", "slurm"]
GB = 10**9
# Gigabytes of a GPU by a word of its name, where sinfo says no more; the smallest that was sold.
_MEMORY_GB = (
    {"b200": 180, "h200": 141, "gh200": 96, "h100": 80, "mi300": 192, "mi250": 64}
    | {"a100": 40, "a40": 48, "a6000": 48, "l40": 48, "l40s": 48, "rtx6000": 24, "a30": 24}
    | {"a10": 24, "l4": 24, "4090": 24, "3090": 24, "v100": 16, "p100": 16, "t4": 16}
)
# Training speed beside an H100's, about: by their multiplications a second in half precision.
_OF_H100 = (
    {"b200": 2.0, "h200": 1.0, "gh200": 1.0, "h100": 1.0, "mi300": 1.0, "mi250": 0.4}
    | {"a100": 0.5, "l40s": 0.4, "4090": 0.35, "l40": 0.3, "a30": 0.25, "a40": 0.25, "a6000": 0.25}
    | {"3090": 0.2, "a10": 0.2, "v100": 0.2, "l4": 0.12, "rtx6000": 0.12, "t4": 0.08, "p100": 0.05}
)
_UNKNOWN_OF_H100 = 0.2
_WITHOUT_BF16 = ("v100", "p100", "t4", "2080", "1080", "rtx6000")
_UNKNOWN_GB = 16


@dataclass(frozen=True)
class Gpu:
    """One GPU."""

    name: str
    memory_bytes: int
    has_bf16: bool = True
    """Whether it multiplies bf16 in hardware."""
    is_guessed: bool = False
    """Whether its memory is not known, and the smallest of its name is taken."""

    @property
    def of_h100(self) -> float:
        """How fast it trains beside an H100, about."""
        known = _known(self.name, _OF_H100)
        return _OF_H100[known] if known else _UNKNOWN_OF_H100


@dataclass(frozen=True)
class Machine:
    """Where a run is to train: one machine, or the nodes of a SLURM partition."""

    kind: Literal["cpu", "gpu", "slurm"]
    cores: int
    """Of one node."""
    memory_bytes: int
    """Main memory of one node."""
    gpus: tuple[Gpu, ...] = ()
    """Of one node."""
    partition: str = ""
    num_nodes: int = 1
    """Of the partition."""
    time_limit: str = ""
    """Of the partition, as SLURM writes it."""

    def described(self) -> str:
        """Say it in a few words."""
        memory = f"{self.memory_bytes / GB:.0f} GB of main memory"
        cores = f"{self.cores} core{'s' if self.cores > 1 else ''}"
        if not self.gpus:
            return f"a CPU with {cores}, {memory}"
        gpu, num = self.gpus[0], len(self.gpus)
        about = "about " if gpu.is_guessed else ""
        told = f"{num} x {gpu.name} of {about}{gpu.memory_bytes / GB:.0f} GB"
        if self.kind == "gpu":
            return f"{told}, {cores}, {memory}"
        nodes = f"{self.num_nodes} node{'s' if self.num_nodes > 1 else ''}"
        return f"SLURM partition {self.partition}: {nodes} with {told} and {cores} each"


def look(wanted: Kind = "auto") -> Machine:
    """Look at this machine: its GPUs if it has some, else SLURM's partitions, else its CPU.

    Raises:
        UserError: If what is wanted is not here.
    """
    here = Machine("cpu", usable_cores(), main_memory.total_bytes())
    if wanted in ("auto", "gpu"):
        if gpus := _gpus():
            return Machine("gpu", here.cores, here.memory_bytes, gpus)
        if wanted == "gpu":
            raise UserError(
                "--for gpu: no GPU is seen here (nvidia-smi tells of drivers, CUDA_VISIBLE_DEVICES "
                "hides some); type it on the machine with the GPU, or take --for cpu or slurm, or "
                "configs/pretrain/swin_tiny_1gpu.yaml"
            )
    if wanted in ("auto", "slurm"):
        text = list_partitions()
        if found := best_partition(text):
            return found
        if wanted == "slurm":
            heard = "no partition with GPUs" if text else "nothing: SLURM is not here"
            raise UserError(
                f"--for slurm: sinfo says {heard}; type it on a login node, or take --for cpu"
            )
    return here


def best_partition(text: str) -> Machine | None:
    """Read what `list_partitions` returns; take the one with most GPUs, the default one first."""
    found = [_partition(line) for line in text.splitlines() if line.count("|") == 5]
    usable = [(is_default, one) for is_default, one in found if one.gpus]
    best = max(
        usable,
        key=lambda pair: (pair[0], len(pair[1].gpus) * pair[1].num_nodes, pair[1].partition),
        default=None,
    )
    return None if best is None else best[1]


def _partition(line: str) -> tuple[bool, Machine]:
    """Read a line `NAME*|GRES|TIME|NODES|CPUS|MEGABYTES`, of which numbers may end with a +."""
    name, resources, limit, *numbers = (part.strip() for part in line.split("|"))
    nodes, cores, megabytes = (int(re.match(r"\d*", one)[0] or 0) for one in numbers)  # type: ignore[index]
    gpus: tuple[Gpu, ...] = ()
    for kind, count in re.findall(r"\bgpu(?::([^:,()]*[^\d:,()][^:,()]*))?:(\d+)", resources):
        gpus = max(gpus, (gpu_of(kind),) * int(count), key=len)
    told = (name.rstrip("*"), nodes, limit)
    return name.endswith("*"), Machine("slurm", cores, megabytes * 10**6, gpus, *told)


def gpu_of(kind: str) -> Gpu:
    """Return a GPU by the name that a cluster gives it, such as a100 or nvidia_a100_80gb."""
    words = kind.lower()
    known = _known(words, _MEMORY_GB)
    told = re.search(r"(\d+)_?gb", words) or re.search(r"(\d+)g\b", words)
    size = int(told[1]) if told else _MEMORY_GB[known] if known else _UNKNOWN_GB
    has_bf16 = not any(word in words for word in _WITHOUT_BF16)
    return Gpu(kind or "GPU", size * GB, has_bf16, is_guessed=not told)


def _known(name: str, table: Collection[str]) -> str | None:
    """Return the longest word of a table that is in a name."""
    return max((word for word in table if word in name.lower()), key=len, default=None)


def _gpus() -> tuple[Gpu, ...]:
    import torch  # late, for speed: messages about --for do without it

    found = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    return tuple(Gpu(one.name, one.total_memory, one.major >= 8) for one in found)
