"""What `ssl-swin submit evaluate` checks before a job waits in the queue, and the job's script."""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import Any

from ssl_swin.cluster.checks import (
    CheckedStage,
    check_folder,
    check_name,
    check_time,
    living_job,
)
from ssl_swin.cluster.options import EVALUATE, Options, Stage
from ssl_swin.cluster.script import Script
from ssl_swin.command_line import call, take
from ssl_swin.config.flags import with_hyphens
from ssl_swin.config.run import FinetuneConfig, RunConfig
from ssl_swin.data.open import open_shards
from ssl_swin.data.remote.urls import shown
from ssl_swin.data.shards.user_cache import cache_root, make_cache
from ssl_swin.errors import UserError, usable
from ssl_swin.record.run_folder import RunFolder

_CPUS = 8  # of a task


@dataclass(frozen=True)
class _Output:
    output: Path | None = None


@dataclass(frozen=True)
class _Asked:
    """What the words of `ssl-swin evaluate` say."""

    what: tuple[str, ...]
    data: str
    test: str | None
    computing: Any
    asking: Any
    output: Path | None

    @property
    def meant(self) -> list[str]:
        """The network that each WHAT names, or has the architecture of; "" if there is none."""
        from ssl_swin.features.subjects import networks_meant  # late, for speed

        return [one or "" for one in networks_meant(self.what)]


def prepare_evaluation(stage: Stage, trained: Sequence[RunConfig], dry_run: bool) -> CheckedStage:
    """Check an evaluation; its networks may be runs that are queued before it, or are going on.

    Without one of the runs in `trained`, which the same command queues, the last of them is named
    first.

    Raises:
        UserError: If there is no such network, layer or measure; shards or indexes are missing, or
            classes differ; or the folder of the results is in use, or of other images.
        MachineError: If weights of timm are fetched, and cannot be.
        RemoteError or OSError: If the storage fails.
    """
    options = stage.options
    check_time(options.time, options.warning)
    named, words = take(EVALUATE, "", _Output(), [with_hyphens(one) for one in stage.arguments])
    asked = _read(words)
    chain = {Path(one.run_dir).resolve(): one for one in trained}
    if chain and not {Path(one).resolve() for one in asked.meant} & {*chain}:
        first = str(Path(trained[-1].run_dir))
        asked, words = replace(asked, what=(first, *asked.what)), [first, *words]
    coming, after = _coming(asked, chain)
    said = [f"{one}, {how}" for one, how in coming.items()]
    networks, fingerprints = _check_networks(asked, coming, dry_run)
    output = named.output or _usual_output(asked, coming)
    check_name("output", output)
    check_folder(RunFolder(output), "output")
    said += [*networks, *_check_sets(asked, coming, output, {*asked.what, *fingerprints})]
    on_cpu = asked.computing.device == "cpu" or any(
        one.training.accelerator == "cpu" for one in trained[-1:]
    )
    gpus, tasks = options.per_node(1, not on_cpu)
    said += _check_processes(asked, options, gpus, tasks)
    script = Script(
        kind=EVALUATE,
        config="",
        run_dir=str(output),
        settings=tuple(words),
        nodes=options.nodes or "1",
        tasks_per_node=tasks,
        gpus_per_node=gpus,
        cpus_per_task=options.cpus_per_task or _CPUS,
        options=options,
        program=options.how_called(),
        log=f"{output.absolute()}/slurm-%j.out",
        folder=os.getcwd(),
        submitted=True,
    )
    return CheckedStage(EVALUATE, output, (output,), script, tuple(said), after)


def _read(words: Sequence[str]) -> _Asked:
    """Read the words as the command itself does."""
    from ssl_swin.features.evaluate import evaluate  # late, for speed: it imports torch

    found: list[_Asked] = []

    @wraps(evaluate)
    def note(*what: str, **options: Any) -> None:
        found.append(_Asked(what, **options))

    call(EVALUATE, note, list(words))
    (asked,) = found
    if asked.asking.devices > 1:
        raise UserError(
            f"--devices {asked.asking.devices}: srun starts the processes of a job; give "
            "--gpus-per-node, or without GPUs --tasks-per-node"
        )
    return asked


def _coming(
    asked: _Asked, chain: Mapping[Path, RunConfig]
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Find the runs that have no weights yet, and who makes them: this command, or a job."""
    coming, after = {}, []
    for one in filter(None, dict.fromkeys(asked.meant)):
        folder = RunFolder(Path(one))
        of_run = (folder.classifier,) if asked.test is None else (folder.encoder, folder.last)
        if any(file.is_file() for file in (*of_run, folder.classifier)):
            continue
        job, state = living_job(folder)
        if (config := chain.get(folder.root.resolve())) is not None:
            coming[one] = "which a step before makes"
            if asked.test is None and not isinstance(config, FinetuneConfig):
                raise UserError(
                    f"{one} becomes an encoder, which knows no classes: give --test, a second "
                    "labelled set to measure its frozen features"
                )
        elif state is not None:
            coming[one] = f"which job {job} makes, that is {state.state}: it is waited for"
            after.append(job)
    return coming, tuple(after)


def _check_networks(
    asked: _Asked, coming: Mapping[str, str], dry_run: bool
) -> tuple[list[str], list[str]]:
    """Open each network as the job will, but for those that are yet to come.

    Return what they are, and the fingerprints of frozen ones.
    """
    from ssl_swin.features.evaluate import only_classifier  # late, for speed
    from ssl_swin.features.extract import network_at
    from ssl_swin.features.measures import chosen_measures
    from ssl_swin.features.subjects import RANDOM, TIMM, WHAT, find_subject
    from ssl_swin.pretrained.classifier import open_classifier

    asking, said, fingerprints = asked.asking, [], []
    if not asked.what:
        raise UserError(f"nothing is named that could be evaluated; give {WHAT}")
    if asked.test is None:
        run = only_classifier(asked.what, asked.data)
        if asked.what[0] in coming:
            return [], []
        return [f"{run}: {len(open_classifier(run).card.classes)} classes"], []
    chosen_measures(asking.measures)
    for what, meant in zip(asked.what, asked.meant, strict=True):
        if meant in coming:
            continue
        fetched = what.startswith(TIMM) and what.count(":") == 1
        opened = f"{RANDOM}:{what}" if fetched and dry_run else what
        subject = find_subject(
            opened, like=meant or None, seed=asking.seed, img_size=asking.img_size
        )
        network_at(subject, asking.layer)
        fingerprints.append(subject.fingerprint)
        said.append(f"{what}: {subject.told}")
        if opened != what:
            said[-1] = f"not checked: whether timm's weights for {what} can be had; submitting does"
    return said, fingerprints


def _usual_output(asked: _Asked, coming: Mapping[str, str]) -> Path:
    """Return the folder that the command would write to by itself."""
    from ssl_swin.evaluation import evaluate as of_classifier  # late, for speed
    from ssl_swin.features.evaluate import usual_folder

    if asked.test is None:
        run = Path(asked.what[0])
        run = RunFolder(run).classifier if asked.what[0] in coming else run
        return of_classifier.usual_folder(run, asked.data)
    return usual_folder(asked.what, asked.test, coming)


def _check_sets(
    asked: _Asked, coming: Mapping[str, str], output: Path, known: Collection[str]
) -> list[str]:
    """Open the sets by their indexes, hold their classes against each other; and what is there.

    `known` are names and fingerprints of networks, as `check_question` takes them.
    """
    from ssl_swin.evaluation import evaluate as of_classifier  # late, for speed
    from ssl_swin.features.evaluate import without_results
    from ssl_swin.features.labelled import open_labelled
    from ssl_swin.features.written import check_folder as check_images
    from ssl_swin.features.written import check_question
    from ssl_swin.pretrained.classifier import open_classifier

    labels, cache = asked.asking.asked_labels, asked.asking.cache_dir
    for name, where in (("data", asked.data), ("test", asked.test)):
        if where is not None:
            with usable(f"{name}={shown(where)}"):
                open_shards(where, cache_dir=cache, index_missing=False)
    if asked.test is None:
        (what,) = asked.what
        card = None if what in coming else open_classifier(Path(what)).card
        if card is None:
            shards = of_classifier.open_set(asked.data, cache)
        else:
            labels = replace(labels, task=card.task)
            shards = of_classifier.open_with_labels(asked.data, labels, cache)
        if output.is_dir():
            of_classifier.check_folder(output, shards.fingerprint())
        if card is not None:
            of_classifier.labels_as_known(shards, shown(asked.data), card, labels)
        return [f"data: {shards.num_samples:,} images"]
    said: list[str] = []
    sets = train, test, classes = open_labelled(asked.data, asked.test, labels, cache, said.append)
    if output.is_dir():
        check_images(output, test.shards.fingerprint())
        check_question(output, without_results(sets, asked.computing, asked.asking), known)
    numbers = f"data: {train.num_labels:,} labelled images, test: {test.num_labels:,}"
    return [*said, f"{numbers}, {len(classes)} classes"]


def _check_processes(asked: _Asked, options: Options, gpus: int, tasks: int) -> list[str]:
    """Say how many processes extract features, and where those are kept."""
    most = options.num_nodes(1)[1] * tasks
    if asked.test is None:
        if most > 1:
            raise UserError(
                f"a classifier is measured by one process, and these are {most}: leave out "
                "--nodes, --gpus-per-node and --tasks-per-node"
            )
        return []
    processes = "1 process" if most == 1 else f"{most} processes"
    gpu = ", each with a GPU" if gpus and most > 1 else " with a GPU" if gpus else ""
    root = asked.asking.cache_dir
    kept = cache_root(root) or make_cache("features", root)  # which says why there is none
    return [f"{processes}{gpu}; features are kept in {kept}/features, which all nodes have to see"]
