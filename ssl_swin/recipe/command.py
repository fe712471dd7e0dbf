"""The command: looks at images and at a machine, and writes a config that trains."""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table

from ssl_swin.errors import UserError, usable
from ssl_swin.files import replacing
from ssl_swin.recipe.choose import Choices, Wishes, choose
from ssl_swin.recipe.images import Images, look_at
from ssl_swin.recipe.machine import Kind, Machine, look
from ssl_swin.recipe.measure import Speed, config_of, estimate, measure_what_fits
from ssl_swin.recipe.numbers import Told
from ssl_swin.recipe.write import Places, as_yaml, commands, described, places_of, time_lines

_STDOUT = "-"
_MANY = 0.01  # share of unreadable images at which a run stops


@dataclass(frozen=True)
class RecipeOptions:
    """What may be asked of a recipe."""

    output: str = _STDOUT
    """The YAML file to write; - prints it."""
    for_: Kind = "auto"
    """For which machine: auto, cpu, gpu or slurm; auto is this one's GPUs, else SLURM, else CPU."""
    hours: float | None = None
    """How long pretraining may take; left out, what suits the number of images."""
    minutes: float | None = None
    """The same in minutes."""
    run_dir: str | None = None
    """Folder of the runs; left out, runs/ and the name of the images."""
    force: bool = False
    """Write over a file that is there."""
    no_up: bool = False
    """The images have no up, as seen from above or through a microscope: they are also turned by
    right angles and flipped upside down."""
    nodata: float | None = None
    """Of images of other numbers than colours: the number that stands for none."""
    channel_axis: Literal["first", "last"] | None = None
    """Of the same: where a .npy has its channels; left out, sizes tell it."""

    def __post_init__(self) -> None:
        if self.hours is not None and self.minutes is not None:
            raise UserError("--hours and --minutes both say how long; give one of the two")
        for name in ("hours", "minutes"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise UserError(f"--{name} {value:g}: give a time greater than 0")
        if self.output != _STDOUT and Path(self.output).suffix not in (".yaml", ".yml"):
            raise UserError(f"-o {self.output}: give a name that ends with .yaml, or - to print it")

    @property
    def budget_h(self) -> float | None:
        """Hours that pretraining may take, if that is said."""
        return self.hours if self.minutes is None else self.minutes / 60


def recipe(source: str, options: RecipeOptions) -> None:
    """Look at your images and at this machine, and write a pretraining config that suits both.

    On this machine's CPU or GPUs a few steps are timed, which takes seconds; nothing is trained.

    Args:
        source: Shards, what `shards create --split` wrote, or a folder of image files.
        options: What may be asked.

    Raises:
        UserError: If the file is there already, there is no such machine, or no image is readable.
        ShardError: If there are no images.
    """
    console = Console(stderr=options.output == _STDOUT, highlight=False, soft_wrap=True)
    if options.output != _STDOUT:
        _refuse(Path(options.output), options.force)
    machine = look(options.for_)
    with console.status("looking at the images"):
        images = look_at(source, Told(options.nodata, options.channel_axis))
    shown = "my.yaml" if options.output == _STDOUT else options.output
    places = places_of(images, shown, options.run_dir)
    with console.status("taking a few steps"):
        choices, speed = _measured(images, machine, places, options)
    text = as_yaml(choices, images, machine, places, speed)
    if options.output == _STDOUT:
        sys.stdout.write(text)
    else:
        with usable(f"-o {options.output}"), replacing(Path(options.output)) as file:
            file.write(text.encode())
    for line in warnings_of(images):
        console.print(line, markup=False)
    console.print(_table(images, machine, choices, speed))
    typed = commands(images, machine, choices, places)
    console.print("next:", *(f"  {line}" for line in typed), sep="\n")


def _refuse(path: Path, force: bool) -> None:
    if path.is_dir():
        raise UserError(f"-o {path} is a folder; give the name of a file, such as {path}/my.yaml")
    if path.exists() and not force:
        raise UserError(f"-o {path} is there already; give another name, or --force to replace it")


def _measured(
    images: Images, machine: Machine, places: Places, options: RecipeOptions
) -> tuple[Choices, Speed]:
    """Choose, measure what was chosen, and choose again for the time that is given."""
    wishes = Wishes(places.run_dir, options.budget_h, no_up=options.no_up)
    choices = choose(images, machine, places.shards, wishes)
    config = config_of(choices)
    if machine.kind == "slurm":
        gpus = config.training.devices * config.training.num_nodes
        speed, fits = estimate(images, machine, gpus), None
    else:
        speed, fits = measure_what_fits(config, machine, images.shards is not None)
    rate = speed.of_run(machine, choices["data.num_workers"].value)
    return choose(
        images, machine, places.shards, replace(wishes, images_per_s=rate, fits=fits)
    ), speed


def warnings_of(images: Images) -> list[str]:
    """Say what of the images may surprise."""
    said = []
    if images.unreadable_share > _MANY:
        said.append(
            f"warning: {images.unreadable_share:.0%} of the images looked at cannot be decoded; a "
            f"run stops above {_MANY:.0%} (data.max_bad_share), and shards verify names them"
        )
    if images.shards is None:
        said.append(
            "these are image files, which training does not read: pack them first, as below"
        )
    if 0 < images.labelled_share < 1:
        said.append(
            f"about {images.labelled_share:.0%} of the images have a label; pretraining takes all, "
            "fine-tuning needs shards in which each has one"
        )
    return said


def _table(images: Images, machine: Machine, choices: Choices, speed: Speed) -> Table:
    table = Table("what", "found and chosen", show_header=False)
    model = choices["model.name"].value
    if choices.get("model.embed_dim"):
        depths = " + ".join(map(str, choices["model.depths"].value))
        model = f"a Swin of {depths} blocks, {choices['model.embed_dim'].value} wide"
    mask, side = (choices[f"{name}"].value for name in ("mask.mask_patch_size", "model.img_size"))
    batch, micro = (choices[f"training.{one}_batch_size"].value for one in ("global", "micro"))
    rows = {
        "images": described(images),
        "classes": _listed(images.classes),
        "machine": machine.described(),
        "network": f"{model}, {side} pixels, masks of {mask}",
        "steps": f"{batch} images, at most {micro} at once; {choices['optim.epochs'].value} epochs",
        "time": " ".join(time_lines(choices, images, machine, speed)),
    }
    for name, text in rows.items():
        table.add_row(name, text)
    return table


def _listed(classes: tuple[str, ...]) -> str:
    if not classes:
        return "none are named"
    more = f" and {len(classes) - 10} more" if len(classes) > 10 else ""
    return f"{', '.join(classes[:10])}{more}"
