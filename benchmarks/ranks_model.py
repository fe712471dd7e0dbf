"""What `ranks.py` assumes, and how a step and a run follow from it: plain arithmetic."""

import math
from dataclasses import dataclass
from statistics import NormalDist
from types import SimpleNamespace

from ssl_swin.cluster.save_interval import Kept, best_interval_s, kept

GUESS = "estimate"
STOP, OVERHEAD = "measured: results/stop_2cpu", "measured: results/overhead_2cpu"
STREAM, HERE = "measured: results/stream_xeon", "measured: results/ranks_2cpu"
# name, which is the flag; value; what it is, with its unit; where it is from
ASSUMPTIONS: tuple[tuple[str, float, str, str], ...] = (
    (
        "gpu-images-per-s",
        1400,
        "images/s of one GPU, step alone: Swin-B, 192 px, bf16, H100",
        f"{GUESS}: 1,200 to 1,600 for the official code in AMP; its memory allows 5,000",
    ),
    ("images-per-gpu", 128, "images of a GPU in a step", "the recipe's, at 16 GPUs"),
    ("parameters", 89.87e6, "parameters: Swin-B with its decoder", "counted"),
    (
        "gradient-bytes",
        4,
        "bytes of a gradient: 2 with training.reduce_precision=bf16",
        "the default",
    ),
    ("bucket-mb", 25, "MB exchanged in one go", "DDP's default"),
    ("backward", 0.67, "part of a step that is the backward", f"{GUESS}: twice the forward"),
    ("overlap", 1, "part of the backward that hides the exchange; 0 for none", GUESS),
    ("straggle", 0.01, "standard deviation of a step's time, as part of it", GUESS),
    ("gpus-per-node", 8, "GPUs of a node", "given"),
    ("nvlink-gb-s", 350, "GB/s of a GPU within a node, one way", f"{GUESS}: 450 nominal"),
    ("nvlink-us", 5, "us from GPU to GPU", GUESS),
    ("network-gb-s", 80, "GB/s of a node, one way", f"{GUESS}: 2 x 400 Gb/s, 80 % of it"),
    ("network-us", 15, "us from node to node", GUESS),
    (
        "hop-us",
        91,
        "us from rank to rank when ranks agree, on the CPU",
        f"{OVERHEAD}, 2 to 8 ranks",
    ),
    ("agree-us", 40, "us of an agreement beside its hops", f"{OVERHEAD}, 2 to 8 ranks"),
    (
        "tree",
        0,
        "1 if ranks agreed along a tree; gloo's all-reduce goes around a ring",
        "its source",
    ),
    ("core-images-per-s", 503, "images/s that a core decodes: 500 x 334 JPEGs", STREAM),
    ("cores-per-gpu", 12, "cores for each GPU", "given"),
    ("disk-gb-s", 0.27, "GB/s to write and sync a checkpoint", f"{STOP}, 340 MB in 1.25 s"),
    ("copy-gb-s", 1.1, "GB/s to copy one, with async_checkpoint", f"{STOP}, 340 MB in 0.3 s"),
    ("read-gb-s", 0.77, "GB/s to read one with its check sums", f"{STOP}, 340 MB in 0.44 s"),
    ("storage-gb-s", 10, "GB/s of the storage when all nodes read at once", GUESS),
    ("background", 0, "1 for training.async_checkpoint", "the default"),
    ("mtbf-h", 3, "hours between two failures of the job, at any size", "given"),
    ("leave-s", 30, "s until all processes of a failed life are gone", "slurm/README.md: at most"),
    ("requeue-s", 60, "s until the job is queued, started and its nodes prepared", GUESS),
    ("imports-s", 6.5, "s for Python and its imports", f"{HERE}, processor's time"),
    ("meet-s", 5, "s until ranks have met: NCCL and gloo", GUESS),
    ("meet-ms-per-rank", 20, "ms more for each rank", GUESS),
    ("order-s", 0.025, "s to open the order and find the first share", HERE),
    ("first-step-s", 10, "s that the first step takes longer than others", GUESS),
)
MAY_BE_0 = {"backward", "overlap", "straggle", "nvlink-us", "network-us", "hop-us", "agree-us"}
MAY_BE_0 |= {"tree", "background", "leave-s", "requeue-s", "imports-s", "meet-s", "order-s"}
MAY_BE_0 |= {"meet-ms-per-rank", "first-step-s"}


def checkpoint_bytes(a: SimpleNamespace) -> float:
    """Float32 weights and AdamW's two moments."""
    return 12 * a.parameters


@dataclass(frozen=True)
class Step:
    """Seconds of one step on so many GPUs."""

    compute: float  # the slowest of all GPUs
    exchange: float  # of gradients, all of it
    waited: float  # for what of that the backward does not hide
    agreement: float
    loader: float

    @property
    def length(self) -> float:
        """Agreement and loader work on the step after, so the slowest sets the pace."""
        return max(self.compute + self.waited, self.agreement, self.loader)

    @property
    def pace(self) -> str:
        """What sets the pace."""
        others = {"agreement": self.agreement, "loader": self.loader}
        return next((name for name, s in others.items() if s == self.length), "GPU")


def step(a: SimpleNamespace, n: int) -> Step:
    """Return what a step on `n` GPUs takes, each with as many images."""
    alone = a.images_per_gpu / a.gpu_images_per_s
    exchange, last = exchange_s(a, n)
    hidden = a.overlap * a.backward * alone
    return Step(
        compute=alone * (1 + a.straggle * slowest(n)),
        exchange=exchange,
        waited=max(last, exchange - hidden) if a.overlap else exchange,
        agreement=0.0 if n == 1 else 1e-6 * (a.agree_us + a.hop_us * hops(a, n)),
        loader=a.images_per_gpu / (a.core_images_per_s * a.cores_per_gpu),
    )


def slowest(n: int) -> float:
    """Standard deviations by which the slowest of `n` is later than the mean (Blom, 1958)."""
    return NormalDist().inv_cdf((n - 0.375) / (n + 0.25))


def hops(a: SimpleNamespace, n: int) -> float:
    """Messages one after another in an all-reduce of gloo, which is a ring, or in a tree."""
    return 2 * (math.log2(n) if a.tree else n - 1)


def exchange_s(a: SimpleNamespace, n: int) -> tuple[float, float]:
    """Return the seconds to add up all gradients, and those of the last bucket.

    A ring within each node, as NCCL does it, and between the nodes, of which each GPU takes a part;
    what a link carries is 2 (n - 1) / n of the bytes. Between nodes the delays are those of a tree.
    """
    size, bucket = a.parameters * a.gradient_bytes, 1e6 * a.bucket_mb
    in_node = min(n, a.gpus_per_node)
    nodes = math.ceil(n / a.gpus_per_node)
    delay = 2e-6 * ((in_node - 1) * a.nvlink_us + math.log2(nodes) * a.network_us)
    per_byte = 2e-9 * (
        (in_node - 1) / in_node / a.nvlink_gb_s + (nodes - 1) / nodes / a.network_gb_s
    )
    whole = math.ceil(size / bucket) * delay + size * per_byte
    return whole, delay + min(bucket, size) * per_byte


def efficiency(a: SimpleNamespace, n: int) -> float:
    """Images/s of a GPU among `n`, over those of one alone."""
    return a.images_per_gpu / a.gpu_images_per_s / step(a, n).length


def save_s(a: SimpleNamespace) -> float:
    """Seconds that training stands still for a save."""
    return checkpoint_bytes(a) / 1e9 / (a.copy_gb_s if a.background else a.disk_gb_s)


def restart_s(a: SimpleNamespace, n: int) -> dict[str, float]:
    """Return the seconds of each part, from a failure to the end of the first step's own time."""
    size, nodes = checkpoint_bytes(a) / 1e9, math.ceil(n / a.gpus_per_node)
    return {
        "leaving": a.leave_s,
        "queue and nodes": a.requeue_s,
        "imports": a.imports_s,
        "checkpoint": max(size / a.read_gb_s, nodes * size / a.storage_gb_s),
        "meeting": a.meet_s + 1e-3 * a.meet_ms_per_rank * n,
        "order, first batch": a.order_s + step(a, n).loader * a.cores_per_gpu,
        "first step": a.first_step_s,
    }


def life(a: SimpleNamespace, n: int, interval_s: float | None = None) -> tuple[float, Kept]:
    """Return the seconds between saves, by Young's rule unless given, and what is kept of a run."""
    mtbf_s = 3600 * a.mtbf_h
    least = checkpoint_bytes(a) / 1e9 / a.disk_gb_s if a.background else 0.0
    every_s = interval_s or max(best_interval_s(save_s(a), mtbf_s), least, step(a, n).length)
    return every_s, kept(every_s, save_s(a), mtbf_s, sum(restart_s(a, n).values()))
