"""What a stage of a chain takes of those before it: the weights it begins with, and its teacher."""

from collections.abc import Collection, Sequence
from pathlib import Path

from ssl_swin.config.run import FinetuneConfig, PretrainConfig, RunConfig, begins_with
from ssl_swin.errors import UserError
from ssl_swin.record.run_folder import ENCODER_FILE, RunFolder, encoder_file
from ssl_swin.record.summary import is_finished


def begins_with_last(
    config: RunConfig, given: Collection[str], before: Sequence[RunConfig]
) -> tuple[list[str], list[str]]:
    """Return words that begin with the encoder of the last stage `before`; and what is to be said.

    There are none if the user, who gave the settings `given`, says what it begins with, null too;
    or if the last stage is the teacher.
    """
    setting, source = begins_with(config)
    if not before or source is not None or setting in given:
        return [], []
    last = str(Path(before[-1].run_dir))
    if is_made_by(teacher_of(config), before[-1]):
        return [], [
            f"{setting}: none, from scratch, as the step before is the teacher; --{setting} {last} "
            "would begin with its weights"
        ]
    return [f"--{setting}", last], []


def maker_of(what: str | None, before: Sequence[RunConfig]) -> RunConfig | None:
    """Return the stage that has still to make what is named; None if no stage has."""
    for one in before:
        if is_made_by(what, one) and not is_finished(RunFolder(Path(one.run_dir))):
            return one
    return None


def is_made_by(what: str | None, run: RunConfig) -> bool:
    """Whether this is the folder of a run, or its encoder in there, in whatever words."""
    folder = RunFolder(Path(run.run_dir))
    places = folder.root.resolve(), folder.encoder.resolve()
    return what is not None and Path(what).resolve() in places


def teacher_of(config: RunConfig) -> str | None:
    """Return what the teacher of a run is called, if it has one."""
    return config.target.teacher if isinstance(config, PretrainConfig) else None


def describe_encoder(
    config: RunConfig, given: Collection[str], is_to_come: bool, dry_run: bool
) -> list[str]:
    """Check the weights that a new run begins with, as `check_encoder`; say what they are."""
    setting, source = begins_with(config)
    found = check_encoder(setting, source, is_to_come, dry_run)
    if found is None and setting not in given and not isinstance(config, FinetuneConfig):
        return []
    return [f"{setting}: {found or 'none, from scratch'}"]


def check_encoder(
    setting: str, encoder: str | None, is_to_come: bool, dry_run: bool = False
) -> str | None:
    """Refuse an encoder that is not there, unless a stage before makes it.

    The setting is the one that names it. Weights of timm are fetched if they are not in its cache,
    for the nodes of a job may have no network; not by a dry run, which says so.

    Raises:
        UserError: If it is not there, and no stage before makes it.
        MachineError: If timm's weights cannot be fetched.
    """
    from ssl_swin.pretrained.named import file_of, find_any, read_name  # late, for speed

    if encoder is None:
        return None
    if is_to_come:
        return f"{encoder}, which the step before makes"
    named, place = read_name(encoder), Path(encoder)
    if named.model is not None and named.file is None:
        if file_of(encoder) is not None:
            return f"{encoder}, in timm's cache"
        if dry_run:
            return f"{encoder}, not checked: whether timm's weights can be had; submitting does"
        find_any(encoder)
        return f"{encoder}, fetched"
    if named.model is not None and named.file is not None:
        place = named.file
    if place.is_dir() and not encoder_file(place).is_file():
        raise UserError(
            f"--{setting} {encoder}: the run has written no {ENCODER_FILE} yet; wait for its end, "
            "or chain both with --then"
        )
    if not place.exists():
        raise UserError(
            f"--{setting} {encoder}: there is no such run folder or file (looked at "
            f"{place.absolute()}); give another"
        )
    return encoder
