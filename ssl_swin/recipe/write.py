"""The config as text: a header that says what to expect, then each setting with its reason."""

import re
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import yaml

from ssl_swin.data.shards.names import TRAIN, is_remote, printable, set_of
from ssl_swin.recipe.choose import Choices, expected_hours, told_time
from ssl_swin.recipe.images import Images
from ssl_swin.recipe.machine import Machine
from ssl_swin.recipe.measure import H100_RATE, Speed
from ssl_swin.typed import quoted, typed

_ENOUGH = 8 / 3  # short side of packed images over img_size: 4/3, twice for fine-tuning's crops
_LARGER = 1.25  # times as large as that, and smaller copies pay
_WIDTH = 14  # of the header's words


@dataclass(frozen=True)
class Places:
    """Where things go: the config, the shards, the runs."""

    config: str
    """As it is typed."""
    shards: str
    """Of training."""
    runs: str
    """Folder of the pretraining and the fine-tuning."""

    @property
    def run_dir(self) -> str:
        """Folder of the pretraining."""
        return f"{self.runs}/pretrain"


def places_of(images: Images, config: str, runs: str | None) -> Places:
    """Name the places after the images, but for those that are given."""
    name = name_of(images.source)
    packed = f"shards/{name}/{TRAIN}" if images.shards is None else images.shards
    return Places(config, packed, runs or f"runs/{name}")


def name_of(source: str) -> str:
    """Return a short name of some images: that of their folder, or of the one above `train`."""
    place = PurePath(source.partition("://")[2] if is_remote(source) else Path(source).absolute())
    parts = [part for part in place.parts if not set(part) & set("*?{}[]") and part != "/"]
    while len(parts) > 1 and (parts[-1].endswith(".tar") or set_of(parts[-1])):
        parts.pop()
    return parts[-1].removesuffix(".tar") if parts else "mine"


def commands(images: Images, machine: Machine, choices: Choices, places: Places) -> list[str]:
    """Return what to type next, in order."""
    img_size, pretrain = choices["model.img_size"].value, _pretrain(machine, choices, places)
    train, words = PurePath(places.shards), [*("finetune", "--encoder", places.run_dir)]
    words += ["--data.shards", places.shards]
    if images.shards is None:
        packed = str(train.parent)
        create = ["shards", "create", images.source, packed, "--split", images.split]
        enough = round(img_size * _ENOUGH)
        if images.short_sides[1] > _LARGER * enough and images.bands is None:
            create += ["--short-side", str(enough)]
        first = [_typed(*create)]
        words += ["--data.val-shards", str(train.with_name(images.held_out))]
    else:
        first = []
        words += ["--data.val-shards", images.val_shards] if images.val_shards else []
    finetune = [_typed(*words, "--run-dir", f"{places.runs}/finetune")]
    return [*first, pretrain, *(finetune if images.labelled_share or images.classes else [])]


def _pretrain(machine: Machine, choices: Choices, places: Places) -> str:
    if machine.kind != "slurm":
        return _typed("pretrain", places.config)
    words = ["submit", "pretrain", places.config, "--partition", machine.partition]
    words += ["--nodes", str(choices["training.num_nodes"].value)]
    words += ["--gpus-per-node", str(choices["training.devices"].value)]
    if re.match(r"\d", machine.time_limit):  # else it has none
        words += ["--time", machine.time_limit]
    return _typed(*words)


def as_yaml(
    choices: Choices, images: Images, machine: Machine, places: Places, speed: Speed
) -> str:
    """Return the whole file."""
    header = _header(choices, images, machine, places, speed)
    return "\n".join([*(f"# {line}".rstrip() for line in header), *_body(choices), ""])


def _header(
    choices: Choices, images: Images, machine: Machine, places: Places, speed: Speed
) -> list[str]:
    typed = commands(images, machine, choices, places)
    named = {
        "hardware": [machine.described()],
        "time": time_lines(choices, images, machine, speed),
        "expected": expected(machine, choices, images),
        "change first": change_first(machine, images),
    }
    lines = [*typed[: 2 if images.shards is None else 1], "", *_about(images, speed), ""]
    for name, texts in named.items():
        heads = [name] + [""] * (len(texts) - 1)
        lines += [f"{head:<{_WIDTH}}{text}" for head, text in zip(heads, texts, strict=True)]
    return [*lines, "", "Learning rates are per 512 images and follow the batch."]


def _about(images: Images, speed: Speed) -> list[str]:
    size = f" of {speed.num_parameters / 1e6:.1f} M parameters" if speed.num_parameters else ""
    lines = [
        f"Pretrains a Swin{size} on {described(images)},",
        f"as ssl-swin recipe {printable(quoted(images.source))} found them.",
    ]
    if images.shards is None:
        lines += ["They are not packed yet: type the first line above, then the second."]
    return lines


def described(images: Images) -> str:
    """Say in a few words what the images are."""
    low, middle, high = images.short_sides
    sides = f"{middle}" if low == high else f"{low} to {high}, mostly {middle},"
    classes = f" of {len(images.classes)} classes" if images.classes else ""
    told = f" (short side {sides} pixels)"
    if images.bands is not None:
        many = "s" if images.in_chans > 1 else ""
        held = f"{images.in_chans} channel{many}, {images.bands.dtype}"
        return f"{images.num:,} images{classes}, {held}{told}"
    colours = "RGB" if images.in_chans == 3 else "grey"
    return f"{images.num:,} {colours} images{classes}{told}"


def time_lines(choices: Choices, images: Images, machine: Machine, speed: Speed) -> list[str]:
    """Say how long the run takes, and how that is known."""
    rate = speed.of_run(machine, choices["data.num_workers"].value)
    told = told_time(expected_hours(choices, images, rate))
    if not speed.num_steps:
        return [
            f"about {told}, at {rate:,.0f} images/s: an estimate, and perhaps off by two or three;",
            f"from {H100_RATE:,.0f} images/s of Swin-B on an H100, itself an estimate "
            "(docs/scaling.md),",
            "scaled by what this network and these GPUs compute. --dry-run in a job measures",
        ]
    loading = f", one core loads {speed.gives:,.0f}" if speed.gives else ", without loading"
    steps = f"measured here in {speed.num_steps} steps: {speed.takes:,.0f} images/s{loading}"
    if speed.is_alone:
        return [f"about {told}, at {rate:,.0f} images/s", f"({steps})"]
    return [
        f"about {told} if nothing else runs, at {rate:,.0f} images/s",
        f"({steps};",
        f"{speed.load:.0f} processes wanted the {machine.cores} cores, so the time of one core was "
        "counted)",
    ]


def expected(machine: Machine, choices: Choices, images: Images) -> list[str]:
    """Say which number to expect; none is known of somebody's own images."""
    lines = ["no number is measured on these images"]
    of_photographs = images.bands is None and not machine.gpus
    if of_photographs and choices["model.img_size"].value == 96:
        lines += [
            "(photographs of clothes, 3,263 labels of 14 classes: 56.7 top-1 held out, 49.7 on",
            "images of other people, after 26 epochs; benchmarks/results/recipe_cpu.md)",
        ]
    return lines


def change_first(machine: Machine, images: Images) -> list[str]:
    """Say what is worth another value first."""
    few = "more images, labelled or not: pretraining needs no labels"
    if not machine.gpus:
        return ["optim.epochs: twice as many, if there is time", few]
    if images.short_sides[1] < 144:
        return ["optim.epochs, then model.patch_size: 2 sees more of small images", few]
    return [
        "mask.mask_patch_size: 16 where objects are small, 32 else",
        "then optim.epochs, then a larger model.name",
    ]


def _body(choices: Choices) -> list[str]:
    lines, section = [], ""
    for name, choice in choices.items():
        head, _, key = name.rpartition(".")
        if head != section:
            lines.append(f"{head}:")
            section = head
        indent = "  " if head else ""
        lines.append(f"{indent}{key}: {plain(choice.value)}  # {choice.why}")
    return lines


def plain(value: Any) -> str:
    """Return a value as YAML on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, width=2**20, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")


def _typed(*words: str) -> str:
    return printable(typed(*words))
