"""The frozen teacher that a pretraining predicts the features of, if it has one."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ssl_swin.config.data import DataConfig
from ssl_swin.config.run import PretrainConfig, RunConfig
from ssl_swin.data.pixels.decode import sides
from ssl_swin.errors import UserError, naming
from ssl_swin.features.networks import HouseNetwork, Network
from ssl_swin.features.subjects import Subject, find_subject
from ssl_swin.models.encoder import build_encoder
from ssl_swin.models.targets.teacher import Teacher
from ssl_swin.pretrained.unfinished import is_unfinished

_TARGETS = {"teacher", "teacher_pooled"}  # those that need one


def has_teacher(config: RunConfig) -> bool:
    """Whether a run is a pretraining that needs a teacher."""
    if not isinstance(config, PretrainConfig):
        return False
    kinds = [head.target for head in config.heads] or [config.target.kind]
    return not _TARGETS.isdisjoint(kinds)


def open_teacher(config: PretrainConfig) -> Teacher | None:
    """Open a run's teacher with its weights; None if it has none, or needs none.

    Nothing is drawn of torch's numbers: what learns begins with the weights that it would have.

    Raises:
        UserError: If there is no such network, if it is of a run that has not ended, or the images
            of this one are not for it.
        MachineError: If its weights cannot be fetched.
    """
    what, side = config.target.teacher, config.target.teacher_img_size
    if not has_teacher(config) or what is None:
        return None
    if is_unfinished(Path(what)):
        raise UserError(
            f"target.teacher={what} is a run that has not ended, whose weights will be others; let "
            "it end, or give a file of weights"
        )
    _require_square(config)
    rows, _ = sides(config.model.img_size)
    ours = config.data.mean, config.data.std
    with torch.device("cpu"), _naming(what, side, rows):
        found = find_subject(what, img_size=rows if side is None else side, colours=ours)
        network: Any = found.network
        _require_same_images(config, found, what)
        img_size = sides(found.img_size)
        maps = _maps(config, network)
        num_features = _num_features(maps, (len(found.mean), *img_size), what)
    scale = [ours / theirs for ours, theirs in zip(config.data.std, found.std, strict=True)]
    colours = zip(config.data.mean, found.mean, found.std, strict=True)
    shift = [(ours - theirs) / std for ours, theirs, std in colours]
    number = sum(one.numel() for one in network.parameters())
    told = f"{found.told}, {number / 1e6:.2f} M parameters, {img_size[0]} x {img_size[1]} px"
    if config.target.teacher_stage is not None:
        told += f", the {config.target.teacher_at} of stage {config.target.teacher_stage}"
    how = tuple(scale), tuple(shift), found.fingerprint, f"teacher: {told}"
    return Teacher(network, maps, num_features, img_size, *how)


def teacher_to_come(config: PretrainConfig, run: RunConfig) -> Teacher:
    """Return the teacher that a run will have made, for its shapes: it has no weights yet.

    Raises:
        UserError: If images of this run are not for it, or it lacks the stage that is asked for.
    """
    what, theirs = str(config.target.teacher), run.data
    _require_square(config)
    _require_same_images(config, theirs, what)
    with torch.device("meta"), naming(f"target.teacher={what}"):
        encoder = build_encoder(in_chans=len(theirs.mean), **asdict(run.model))
        network = HouseNetwork(encoder).to("meta")  # tables of numpy, too
        maps, img_size = _maps(config, network), sides(run.model.img_size)
        num_features = _num_features(maps, (len(theirs.mean), *img_size), what)
    same = (1.0,) * len(theirs.mean), (0.0,) * len(theirs.mean)
    return Teacher(network, maps, num_features, img_size, *same)


def _require_square(config: PretrainConfig) -> None:
    rows, cols = sides(config.model.img_size)
    if config.target.teacher_img_size is None and rows != cols:
        raise UserError(
            f"target.teacher={config.target.teacher} takes square images, and model.img_size is "
            f"{rows} x {cols}; give target.teacher_img_size, to which they are squeezed"
        )


@contextmanager
def _naming(what: str, side: int | None, student: int) -> Iterator[None]:
    """Say of what is refused of a teacher which settings it is; `student` is the run's image side.

    Whoever builds it calls its image size `img_size`.
    """
    setting, size = ("target.teacher_img_size", side) if side else ("model.img_size", student)
    other, hint = f"img_size=({size}, {size})", "" if side else ", or give target.teacher_img_size"
    with naming(f"target.teacher={what}"):
        try:
            yield
        except UserError as error:
            if other not in str(error):
                raise
            said = str(error).replace(other, f"{setting}={size}")
            raise UserError(f"{said}{hint}") from error


def _maps(config: PretrainConfig, network: Network) -> Callable[[Tensor], Tensor]:
    """Return what makes the map of a teacher that is asked for."""
    stage = config.target.teacher_stage
    if stage is None:
        return network.maps
    return partial(network.stage_map, stage=stage, at=config.target.teacher_at)


def _num_features(maps: Callable[[Tensor], Tensor], shape: tuple[int, int, int], what: str) -> int:
    """Count the channels of a teacher's map, of an image of that shape.

    Raises:
        UserError: If it cannot take such an image.
    """
    try:
        with torch.no_grad():
            return maps(torch.zeros(1, *shape)).shape[1]
    except UserError as error:
        raise UserError(
            f"target.teacher={what}: give another target.teacher_stage, {error}"
        ) from error
    except (AssertionError, RuntimeError) as error:
        said = " ".join(str(error).split())[:300]
        raise UserError(
            f"target.teacher={what} does not take images of {shape[1]} x {shape[2]} pixels ({said})"
            "; give target.teacher_img_size, to which they are resized for it"
        ) from error


def _require_same_images(config: PretrainConfig, found: Subject | DataConfig, what: str) -> None:
    """Refuse a teacher of other channels, or of numbers that mean something else.

    Raises:
        UserError: If it is of others.
    """
    mine, data = len(config.data.mean), config.data
    if mine != len(found.mean):
        colours = ", RGB" if len(found.mean) == 3 else ""
        raise UserError(
            f"target.teacher={what} takes images of {len(found.mean)} channels{colours}, and those "
            f"of this run have {mine}; give a teacher of {mine}, or another target"
        )
    if data.dtype != found.dtype:
        told = ["colours of 8 bits" if one is None else one for one in (found.dtype, data.dtype)]
        raise UserError(
            f"target.teacher={what} takes {told[0]}, and the images of this run are {told[1]}; "
            "give a teacher of these, or another target"
        )


def same_teacher(config: RunConfig, state: Mapping[str, Any] | None) -> Teacher | None:
    """Open a run's teacher, if it has one: that with which the run of a checkpoint began.

    Raises:
        UserError: If its weights, or what it takes, are others now; or as `open_teacher`.
    """
    if not has_teacher(config):
        return None
    assert isinstance(config, PretrainConfig)
    teacher, before = open_teacher(config), None if state is None else state.get("teacher")
    if teacher is not None and before is not None and before != teacher.fingerprint:
        raise UserError(
            f"the run began with another teacher, {before[:12]}, than target.teacher="
            f"{config.target.teacher} is now, {teacher.fingerprint[:12]}; give it that one, or "
            "start another run"
        )
    return teacher
