"""How fast this machine trains: a few steps of the very network, on the very images."""

import os
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from ssl_swin.config.data import DataConfig
from ssl_swin.config.run import PretrainConfig
from ssl_swin.config.settings import with_values
from ssl_swin.data.batches.stream import ImageStream
from ssl_swin.data.open import open_shards
from ssl_swin.data.pixels.decode import sides
from ssl_swin.data.pixels.transforms import TrainTransform
from ssl_swin.errors import MachineError
from ssl_swin.models.masking import count_hidden, grid, random_mask
from ssl_swin.models.normalise import Normalisation
from ssl_swin.models.simmim import SimMIM
from ssl_swin.recipe.choose import Choices
from ssl_swin.recipe.images import Images
from ssl_swin.recipe.machine import Machine
from ssl_swin.recipe.network import choose_network
from ssl_swin.runs.channels import reading_of
from ssl_swin.runs.network import build_simmim
from ssl_swin.runs.sets import RunSets
from ssl_swin.shard_tools.doctor import REMOTE_SAMPLES, all_shares
from ssl_swin.shard_tools.timing import time_stages

STEPS_S, LOADER_S = 4.0, 1.0  # about how long steps and one core's loading are timed
H100_RATE = 1400.0  # images/s of a Swin-B, 192 pixels, bf16: the estimate of docs/scaling.md
_FEWEST_STEPS = 3
_BUSY = 0.7  # processes per core that want it; above, threads wait for one another, and clocks lie
_SHARED_OUT = 0.5  # power of the cores that steps of a small network gain by; 2 gave 1.43 here
_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Speed:
    """What was measured, images/s of the whole machine."""

    takes: float
    """Of the network's steps; on a SLURM, of all GPUs of the run."""
    gives: float | None
    """That one core loads; None while the images are not packed."""
    num_steps: int
    """0 if nothing was measured, and `takes` is an estimate."""
    load: float
    """Processes that wanted a core in the minute before."""
    is_alone: bool
    """Whether the machine was free; if not, the time of one core was counted, as if it were."""
    num_parameters: int

    def of_run(self, machine: Machine, num_workers: int) -> float:
        """Return the images/s of a run: on a CPU, loading and training share the cores."""
        if self.gives is None:
            return self.takes
        if not machine.gpus:
            return 1 / (1 / self.takes + 1 / (self.gives * machine.cores))
        return min(self.takes, self.gives * num_workers * len(machine.gpus))


def config_of(choices: Choices) -> PretrainConfig:
    """Return the config that the choices make."""
    values = {
        name: tuple(choice.value) if isinstance(choice.value, list) else choice.value
        for name, choice in choices.items()
    }
    shards = str(values["data.shards"])
    return with_values(PretrainConfig(str(values["run_dir"]), DataConfig(shards)), values)


def estimate(images: Images, machine: Machine, num_gpus: int) -> Speed:
    """Guess the speed of GPUs that are elsewhere, by what they and the network compute."""
    network, _ = choose_network(images, machine)
    takes = num_gpus * H100_RATE * machine.gpus[0].of_h100 / network.of_base
    return Speed(takes, None, 0, 0.0, True, 0)


def measure_what_fits(
    config: PretrainConfig, machine: Machine, is_packed: bool
) -> tuple[Speed, int]:
    """As `measure`, with half the micro-batch again and again until it fits; return that, too.

    Raises:
        MachineError: If not even one image fits the GPU.
    """
    micro = config.training.micro_batch_size
    while True:
        try:
            one = with_values(config, {"training.micro_batch_size": micro})
            return measure(one, machine, is_packed), micro
        except torch.OutOfMemoryError as error:
            if micro == 1:
                how = "end what else runs there, or take --for cpu"
                raise MachineError(
                    f"not even one image fits {machine.gpus[0].name}: {how}"
                ) from error
        torch.cuda.empty_cache()
        micro //= 2


def measure(config: PretrainConfig, machine: Machine, is_packed: bool) -> Speed:
    """Take steps of the network for a few seconds, and load images for one; write nothing.

    Images that are not packed yet are made up, for they take a step as long.

    Raises:
        torch.OutOfMemoryError: If the micro-batch does not fit the GPU.
    """
    device, load, before = _device(machine), os.getloadavg()[0], torch.get_num_threads()
    is_alone = bool(machine.gpus) or load <= _BUSY * machine.cores
    try:
        torch.set_num_threads(1)
        images, gives = _loaded(config) if is_packed else (_made_up(config), None)
        torch.set_num_threads(machine.cores if is_alone else 1)
        torch.manual_seed(config.seed)
        simmim = build_simmim(config).to(device)
        clock = time.perf_counter if is_alone else time.process_time
        steps_s = _steps(simmim, config, images.to(device), clock)
    finally:
        torch.set_num_threads(before)
    takes = len(images) / statistics.median(steps_s) * max(1, len(machine.gpus))
    takes *= 1 if is_alone else machine.cores**_SHARED_OUT
    num_parameters = sum(one.numel() for one in simmim.parameters())
    return Speed(takes, gives, len(steps_s), load, is_alone, num_parameters)


def _device(machine: Machine) -> torch.device:
    return torch.device("cuda" if machine.gpus else "cpu")


def _made_up(config: PretrainConfig) -> Tensor:
    num = config.training.micro_batch_size
    shape = (num, len(config.data.mean), *sides(config.model.img_size))
    values = torch.randint(1, 128, shape)  # which all types can hold
    return values.to(getattr(torch, config.data.dtype or "uint8"))


def _loaded(config: PretrainConfig) -> tuple[Tensor, float]:
    """Return a micro-batch of the images, and how many a second one core loads."""
    data, side, num = config.data, config.model.img_size, config.training.micro_batch_size
    assert data.shards is not None  # a recipe has one set
    shards = open_shards(data.shards)
    crops = TrainTransform(
        config.seed,
        side,
        data.crop_scale,
        hflip=data.hflip,
        vflip=data.vflip,
        quarter_turns=data.quarter_turns,
    )
    reading = reading_of(data, shards, RunSets([shards], None, []))
    stream = ImageStream(shards, crops, side, len(data.mean), reading=reading)
    shares = all_shares(shards, shards.storage.bring(REMOTE_SAMPLES))
    one_core = time_stages(stream, shares, LOADER_S)
    images = stream.read(next(iter(shares)))["image"]
    return images[torch.arange(num) % len(images)], one_core.images_per_s


def _steps(
    simmim: SimMIM, config: PretrainConfig, images: Tensor, clock: Callable[[], float]
) -> list[float]:
    """Return the seconds of some steps, the first, which is slower, left out."""
    normalise = Normalisation.of(config.data).to(images.device)
    patches = grid(config.model.img_size, config.mask.mask_patch_size)
    hidden = count_hidden(patches, config.mask.mask_ratio)
    index = torch.arange(len(images), device=images.device)
    optimizer = torch.optim.AdamW(simmim.parameters(), lr=0.0)
    kind = _AUTOCAST.get(config.training.precision)
    autocast = torch.autocast(images.device.type, kind) if kind else nullcontext()
    times, began = [clock()], time.perf_counter()
    while len(times) < _FEWEST_STEPS + 2 or time.perf_counter() - began < STEPS_S:
        mask = random_mask(index, len(times), config.seed, patches, hidden)
        with autocast:
            loss = simmim(normalise(images), mask)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if images.device.type == "cuda":
            torch.cuda.synchronize()
        times.append(clock())
    return [after - before for before, after in pairwise(times[1:])]
