"""Images and a machine -> every setting of a pretraining, each with its reason. Pure."""

import math
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, NamedTuple

from ssl_swin.recipe.images import Images
from ssl_swin.recipe.machine import GB, Machine
from ssl_swin.recipe.network import Network, choose_network
from ssl_swin.recipe.numbers import settings_of

CPU_MINUTES = 12.0  # that a pretraining on a CPU takes if nobody says how long
_MOST_EPOCHS, _FEWEST_EPOCHS = 400, 5  # on a CPU
_MOST_OF_ALL = 1600  # however long it may take
# images up to -> epochs on GPUs; the paper has 100 to 800 on 1.28 million
_EPOCHS = ((10_000, 800), (100_000, 400), (500_000, 200), (math.inf, 100))
_BATCHES = ((500_000, 2048), (100_000, 1024), (20_000, 512), (0, 256))  # images from -> batch
_CPU_BATCH, _CPU_RATE, _GPU_RATE, _PAPER_RATE = 32, 0.024, 4e-4, 2e-4  # rates per 512 images
_USABLE = 0.8  # of a GPU's memory
_FEW_IMAGES = 20_000
_MOST_WORKERS = 8
_POINTS, _PANELS, _MEASUREMENTS, _LOOKS = 200, 8, 10, 20  # of a run
_NONE_HELD_OUT = "none: shards create --split val=0.1 makes some"
_OFTEN_H = 1.0  # a run shorter than so many hours saves every few minutes


class Choice(NamedTuple):
    """A setting's value and why it is this one, in a few words."""

    value: Any
    why: str


Choices = dict[str, Choice]
"""By the setting's dotted name, in the order they are written."""


@dataclass(frozen=True)
class Wishes:
    """What the user asks for, and what was measured."""

    run_dir: str
    hours: float | None = None
    """The run's length; None leaves it to the choices."""
    images_per_s: float | None = None
    """That a run gets through here, measured; None if nothing was."""
    fits: int | None = None
    """Images at once that fit the GPU, tried; None if nothing was."""
    no_up: bool = False
    """Whether images have no up: they may be turned and flipped any way round."""


def choose(images: Images, machine: Machine, shards: str, wishes: Wishes) -> Choices:
    """Return the settings of a pretraining on these images, packed as `shards`.

    Equal arguments give equal choices. What was measured counts only where hours are given.
    """
    network, why = choose_network(images, machine)
    batch = _batch(images, machine)
    epochs = _epochs(images, machine, network, wishes)
    return {
        "run_dir": Choice(wishes.run_dir, "the same command goes on there where it stopped"),
        "seed": Choice(0, "of all that is drawn"),
        **_data(images, machine, shards, wishes),
        **_model(network, why),
        **_mask(network),
        **_optim(machine, network, epochs),
        **_training(images, machine, network, batch, epochs.value, wishes),
    }


def steps_of(choices: Choices, images: Images) -> int:
    """Count the steps of the whole run."""
    batch = int(choices["training.global_batch_size"].value)
    return int(choices["optim.epochs"].value) * max(1, images.num // batch)


def expected_hours(choices: Choices, images: Images, images_per_s: float) -> float:
    """Return how long the run takes at such a speed."""
    seen = steps_of(choices, images) * choices["training.global_batch_size"].value
    return float(seen / images_per_s / 3600)


def _data(images: Images, machine: Machine, shards: str, wishes: Wishes) -> Choices:
    few = images.num < _FEW_IMAGES
    held_out = "images held out, to see that the loss falls there, too"
    val = images.val_shards
    if images.shards is None:  # packing them holds some out
        val = str(PurePath(shards).with_name(images.held_out))
    crop = [0.4, 1.0] if few else [0.67, 1.0]
    of = "few images: smaller crops show each in more ways" if few else "as in the paper"
    chosen = {
        "data.shards": Choice(shards, f"{images.num:,} images"),
        "data.val_shards": Choice(val, held_out if val else _NONE_HELD_OUT),
        **_labelled(images, shards),
        "data.mean": Choice([*images.mean], _colours(images)),
        "data.std": Choice([*images.std], "of the same images"),
        **{
            f"data.{name}": Choice(*one)
            for name, one in settings_of(images.bands, images.channel_names).items()
        },
        "data.crop_scale": Choice(crop, of),
        "data.hflip": Choice(0.5, "0.0 where left and right differ: text, digits, organs"),
        **_any_way_round(wishes),
        "data.num_workers": Choice(*_workers(machine)),
    }
    if images.black:
        chosen["data.black"] = Choice(images.black, "the least number found in the files")
    if images.white is not None:
        chosen["data.white"] = Choice(images.white, "more than 8 bits, of which so much is used")
    return chosen


def _labelled(images: Images, shards: str) -> Choices:
    if not images.classes and not images.labelled_share:
        return {}
    why = "their labels train nothing; kNN of a few tells while it trains whether features improve"
    return {"data.labelled_shards": Choice(shards, why)}


def _any_way_round(wishes: Wishes) -> Choices:
    if not wishes.no_up:
        return {}
    return {
        "data.vflip": Choice(0.5, "the images have no up"),
        "data.quarter_turns": Choice(True, "likewise"),
    }


def _colours(images: Images) -> str:
    if images.bands is not None:
        return f"measured, of {images.in_chans} channels"
    return "measured; three numbers mean RGB" if images.in_chans == 3 else "measured; one is grey"


def _workers(machine: Machine) -> tuple[int, str]:
    if not machine.gpus:
        return 1, "reads ahead; training takes nearly all of the time"
    each = machine.cores // len(machine.gpus)
    return max(1, min(_MOST_WORKERS, each - 1)), f"for each GPU, which has {each} cores"


def _model(network: Network, why: str) -> Choices:
    large = "larger images need larger shards, and time by the square"
    chosen = {
        "model.name": Choice(network.name, why),
        "model.img_size": Choice(network.img_size, large),
    }
    sizes = {
        "patch_size": "pixels to a side of a token",
        "window_size": "tokens to a side of a window; divides every stage",
        "embed_dim": "width of the first stage; the next has twice as much",
        "depths": "blocks of each stage",
        "num_heads": "32 channels each" if network.img_size == 96 else "16 channels each",
    }
    for name, text in sizes.items():
        value = getattr(network, name)
        if value is not None:
            plain = [*value] if isinstance(value, tuple) else value
            chosen[f"model.{name}"] = Choice(plain, text)
    return chosen


def _mask(network: Network) -> Choices:
    side = network.mask_patch_size
    smaller = f"; {side // 2} if what matters is smaller than {side} pixels" if side > 8 else ""
    grid = network.img_size // side
    return {
        "mask.mask_patch_size": Choice(side, f"{grid} x {grid} patches{smaller}"),
        "mask.mask_ratio": Choice(0.6, "as in the paper"),
    }


def _batch(images: Images, machine: Machine) -> Choice:
    """Return the global batch: a multiple of all processes, and at least four steps an epoch."""
    if not machine.gpus:
        wanted, why = _CPU_BATCH, "small: many steps count more than even ones"
    else:
        wanted = next(batch for least, batch in _BATCHES if images.num >= least)
        why = "grows with the set, 2048 in the paper"
    most = 2 ** int(math.log2(max(1, images.num // 4)))
    processes = len(machine.gpus) * _nodes(images, machine) if machine.gpus else 1
    batch = max(1, min(wanted, most) // processes) * processes
    return Choice(batch, why if batch >= wanted else "few images: at least four steps an epoch")


def _nodes(images: Images, machine: Machine) -> int:
    """Return the nodes of a run: two where the paper's batch is taken, of a SLURM that has them."""
    large = machine.kind == "slurm" and images.num >= _BATCHES[0][0]
    return min(2, machine.num_nodes) if large else 1


def _epochs(images: Images, machine: Machine, network: Network, wishes: Wishes) -> Choice:
    rate = wishes.images_per_s
    if wishes.hours is not None and rate:
        num = max(1, int(wishes.hours * 3600 * rate / images.num))
        if num > _MOST_OF_ALL:
            return Choice(_MOST_OF_ALL, "twice the paper's most; the time would do for more")
        return Choice(num, f"what {rate:.0f} images/s get through in {told_time(wishes.hours)}")
    if machine.gpus:
        num = next(epochs for most, epochs in _EPOCHS if images.num <= most)
        return Choice(num, "the fewer images, the more; 100 to 800 in the paper")
    seen = CPU_MINUTES * 60 * network.per_core * machine.cores
    num = max(_FEWEST_EPOCHS, min(_MOST_EPOCHS, int(seen / images.num)))
    if num == _FEWEST_EPOCHS:
        return Choice(num, "fewer teach little; a GPU is the better machine for so many images")
    return Choice(num, "about a quarter of an hour on a usual CPU; more is better")


def _optim(machine: Machine, network: Network, epochs: Choice) -> Choices:
    if not machine.gpus:
        rate, why = (
            _CPU_RATE,
            f"{_CPU_RATE / 16:g} at {_CPU_BATCH} images; small networks take much",
        )
    elif "base" in network.name:
        rate, why = _PAPER_RATE, "per 512 images, as in the paper"
    else:
        rate, why = _GPU_RATE, "per 512 images; twice the paper's, for a smaller network"
    return {
        "optim.epochs": epochs,
        "optim.warmup_epochs": Choice(round(epochs.value / 10, 1), "a tenth"),
        "optim.base_lr": Choice(rate, why),
        "optim.warmup_lr": Choice(round(rate / 100, 8), "where the warm-up begins"),
        "optim.min_lr": Choice(round(rate / 20, 8), "where the cosine ends"),
        "optim.weight_decay": Choice(0.05, "as in the paper"),
    }


def _training(
    images: Images, machine: Machine, network: Network, batch: Choice, epochs: int, wishes: Wishes
) -> Choices:
    micro, reason = _micro(machine, network, batch.value, _nodes(images, machine))
    if wishes.fits is not None and wishes.fits < micro:
        micro, reason = wishes.fits, "the most that was free for it; --find-micro-batch tries more"
    steps = epochs * max(1, images.num // batch.value)
    brief = not machine.gpus if wishes.hours is None else wishes.hours < _OFTEN_H
    chosen = {
        "training.global_batch_size": batch,
        "training.micro_batch_size": Choice(micro, reason),
        "training.precision": Choice(*_precision(machine)),
        "training.accelerator": Choice(
            "gpu" if machine.gpus else "cpu", "of what it is chosen for"
        ),
        "training.checkpoint_every_min": Choice(
            3.0 if brief else 15.0, "minutes lost at most if the machine dies"
        ),
        "training.validate_every_epochs": Choice(_every(epochs, _MEASUREMENTS), "about ten times"),
        "training.monitor_every_epochs": Choice(
            _every(epochs, _LOOKS), "about twenty looks at features, or what takes 2 % of the time"
        ),
        "training.panel_every_epochs": Choice(_every(epochs, _PANELS), "about eight pictures"),
        "training.log_every_steps": Choice(
            max(1, min(20, steps // _POINTS)), "steps between points of the curves"
        ),
    }
    if machine.gpus:
        chosen["training.devices"] = Choice(len(machine.gpus), "GPUs of a node")
        chosen["training.num_nodes"] = Choice(_nodes(images, machine), "nodes")
    return chosen


def _micro(machine: Machine, network: Network, batch: int, nodes: int) -> tuple[int, str]:
    if not machine.gpus:
        return batch, "all at once: main memory is no limit here"
    share = batch // (len(machine.gpus) * nodes)
    memory = min(gpu.memory_bytes for gpu in machine.gpus) / GB
    most = max(1, 2 ** int(math.log2(max(1, _USABLE * memory / network.gigabytes))))
    return min(share, most), f"should fit {memory:.0f} GB; --find-micro-batch tries it"


def _precision(machine: Machine) -> tuple[str, str]:
    if not machine.gpus:
        return "fp32", "bf16 is slower on many CPUs, and on busy ones"
    if all(gpu.has_bf16 for gpu in machine.gpus):
        return "bf16", "half the memory and faster; weights stay float32"
    return "fp16", "these GPUs have no bf16; weights stay float32"


def _every(epochs: int, times: int) -> int:
    return max(1, epochs // times)


def told_time(hours: float) -> str:
    """Say a time as people do."""
    if hours < 1.5:
        minutes = max(1, round(hours * 60))
        return f"{minutes} minute{'s' if minutes > 1 else ''}"
    return f"{hours:.1f} hours" if hours < 48 else f"{hours / 24:.1f} days"
