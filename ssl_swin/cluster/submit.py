"""`ssl-swin submit`: check a run, write its batch script into the run folder, hand it to SLURM."""

import itertools
import os
import re
import shlex
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssl_swin.cluster import checks
from ssl_swin.cluster.options import Options, Request, Stage
from ssl_swin.cluster.save_interval import describe_saves
from ssl_swin.cluster.sbatch import queue, would_start
from ssl_swin.cluster.script import Script
from ssl_swin.command_line import read_config
from ssl_swin.config.flags import with_hyphens
from ssl_swin.config.run import FinetuneConfig, RunConfig
from ssl_swin.config.settings import with_values
from ssl_swin.data.shards.names import is_remote
from ssl_swin.errors import UserError, usable
from ssl_swin.record.lines import append_line, write_text
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.record.tracking import require_packages
from ssl_swin.runs.sizes import count_checkpoint_bytes, count_steps, machine_needs


@dataclass(frozen=True)
class CheckedStage:
    """A stage that was checked, with its script."""

    kind: str
    config: RunConfig
    root: Path
    runs: tuple[Path, ...]
    """Run folders, in the order of the array's tasks; `root` alone if it is no array."""
    script: Script
    said: tuple[str, ...]
    """What the checks found."""


def submit(request: Request) -> None:
    """Check runs, then write their batch scripts and queue them, or do nothing if a check fails.

    Raises:
        UserError: If a check fails, or sbatch does.
    """
    before: RunConfig | None = None
    prepared: list[CheckedStage] = []
    refused: list[str] = []
    for stage in request.stages:
        one = _prepare(stage, before)
        before = one.config
        if one.runs:
            prepared.append(one)
        elif stage is request.stages[-1]:
            raise UserError(f"{'; '.join(one.said)}; give another --run-dir")
        else:
            print(f"left out: {'; '.join(one.said)}")
    roots = [run.resolve() for one in prepared for run in one.runs]
    if len(set(roots)) < len(roots):
        raise UserError("two of the runs have the same run_dir: give each its own --run-dir")
    for one in prepared:
        answer, is_refused = would_start(one.script.render())
        print("\n".join([f"{one.kind} {one.root}", *(f"  {line}" for line in (*one.said, answer))]))
        if request.dry_run:
            print(f"\n{one.script.render()}", flush=True)
            refused += [answer] if is_refused else []
    if refused:
        raise UserError("; ".join(refused))
    job: str | None = None
    for one in () if request.dry_run else prepared:
        job = _queue(one, after=job)


def _prepare(stage: Stage, before: RunConfig | None) -> CheckedStage:
    """Check a stage; it has no runs if all of them are finished."""
    arguments = [with_hyphens(word) for word in stage.arguments]
    config, _ = read_config(stage.kind, arguments)
    if before is not None and isinstance(config, FinetuneConfig) and config.encoder is None:
        arguments += ["--encoder", str(Path(before.run_dir))]
        config, _ = read_config(stage.kind, arguments)
    root = Path(config.run_dir)
    if re.search(r"[%\n\"'\\]", str(root.absolute())):
        raise UserError(f"run_dir {root} holds a character that SLURM reads as another: rename it")
    sweep = _sweep(root, stage.options.array)
    said: list[str] = []
    left: list[tuple[str, tuple[str, ...]]] = []
    for run_dir, settings in sweep or ((str(root), ()),):
        one, life = read_config(stage.kind, [*arguments, *settings, "--run-dir", run_dir])
        try:
            found, lanes = _check(one, stage, life, before)
            left.append((run_dir, (*settings, *lanes)))
        except checks.FinishedRun as finished:
            found = [str(finished)]
        said += [line for line in found if line not in said]
    runs = tuple(Path(run_dir) for run_dir, _ in left)
    if not sweep:
        arguments += [word for _, settings in left for word in settings]
    script = _script(config, stage, tuple(arguments), tuple(left) if sweep else ())
    return CheckedStage(stage.kind, config, root, runs, script, tuple(said))


def _check(
    config: RunConfig, stage: Stage, life: Mapping[str, Any], before: RunConfig | None
) -> tuple[list[str], list[str]]:
    """Run the checks of one training; return what they found, and words that settle its lanes.

    A first life may have fewer processes than a later one: lanes are those for the most there can
    be.
    """
    options, folder = stage.options, RunFolder(Path(config.run_dir))
    require_packages(config.training.loggers)
    if life["find_micro_batch"]:
        raise UserError("--find-micro-batch is no run: start it on a node, with srun or salloc")
    (gpus, tasks_per_node), (fewest, most) = _per_node(config, options), _num_nodes(config, options)
    layout = {"training.devices": tasks_per_node, "training.num_nodes": most}
    config = with_values(config, layout)
    life_s = checks.check_time(options.time, options.warning)
    checks.check_folder(config)
    start = checks.find_start(config, life["resume_from"], life["given"], gpus > 0, before)
    found = [*start.told, *life["told"]]
    if isinstance(config, FinetuneConfig) and start.is_new:  # later, the checkpoint has its weights
        maker = None if before is None else str(Path(before.run_dir))
        encoder = checks.check_encoder(config.encoder, maker)
        found += [f"encoder: {encoder or 'none, from scratch'}"]
    sizes = count_steps(start.config, start.order, most * tasks_per_node)
    checkpoint_bytes = count_checkpoint_bytes(start.config)
    found += [
        f"data: {sizes.num_images:,d} images",
        checks.describe_world(sizes, fewest * tasks_per_node),
        checks.estimate_hours(sizes, folder, options.images_per_s, life_s),
        *checks.describe_feeding(
            start.config, folder, options.images_per_s, (most, tasks_per_node)
        ),
        checks.describe_machine(
            machine_needs(start.config, max(sizes.shares), tasks_per_node),
        ),
        checks.check_disk(start.config, sizes, checkpoint_bytes),
        describe_saves(start.config, checkpoint_bytes, options, sizes.global_batch_size),
    ]
    settled = start.config.data.num_lanes
    return found, [] if settled == config.data.num_lanes else ["--data.num-lanes", str(settled)]


def _sweep(root: Path, array: tuple[str, ...]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return folder and settings of each combination of the values."""
    keys = []
    for text in array:
        key, separator, values = text.removeprefix("--").partition("=")
        if not separator or not key or not all(values.split(",")):
            raise UserError(f"--array {text}: write KEY=VALUE,VALUE, for example seed=0,1,2")
        keys.append([(key.replace("-", "_"), value) for value in values.split(",")])
    tasks = []
    for pairs in itertools.product(*keys) if keys else ():
        name = re.sub(r"[^\w.=+-]", "_", ",".join(f"{key}={value}" for key, value in pairs))
        settings = tuple(word for key, value in pairs for word in (with_hyphens(f"--{key}"), value))
        tasks.append((str(root / name), settings))
    return tuple(tasks)


def _script(
    config: RunConfig,
    stage: Stage,
    arguments: tuple[str, ...],
    sweep: tuple[tuple[str, tuple[str, ...]], ...],
) -> Script:
    options, root = stage.options, Path(config.run_dir).absolute()
    gpus_per_node, tasks_per_node = _per_node(config, options)
    file = "" if arguments[0].startswith("-") else arguments[0]
    program = shlex.split(options.program or shlex.join([sys.executable, "-m", "ssl_swin"]))
    return Script(
        kind=stage.kind,
        config=file,
        run_dir=config.run_dir,
        settings=_without_run_dir(arguments[bool(file) :]),
        sweep=sweep,
        nodes=options.nodes or str(config.training.num_nodes),
        tasks_per_node=tasks_per_node,
        gpus_per_node=gpus_per_node,
        cpus_per_task=options.cpus_per_task or config.data.num_workers + 1,
        options=options,
        program=tuple(program),
        log=f"{root}/slurm-%A_%a.out" if sweep else f"{root}/slurm-%j.out",
        folder=os.getcwd(),
        submitted=True,
        shards_to_cache=config.data.cache_dir is None and any(map(is_remote, config.data.patterns)),
    )


def _without_run_dir(settings: tuple[str, ...]) -> tuple[str, ...]:
    """Leave out --run-dir, which the script sets in a line of its own."""
    pairs = zip(("", *settings), settings, strict=False)
    kept = (word for last, word in pairs if "--run-dir" not in (last, word))
    return tuple(word for word in kept if not word.startswith("--run-dir="))


def _num_nodes(config: RunConfig, options: Options) -> tuple[int, int]:
    text = options.nodes or str(config.training.num_nodes)
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", text)
    fewest, most = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 1 <= fewest <= most:
        raise UserError(f"--nodes {text}: give a number, or MIN-MAX such as 2-4")
    return fewest, most


def _per_node(config: RunConfig, options: Options) -> tuple[int, int]:
    """Return GPUs and tasks of each node."""
    gpus, devices = options.gpus_per_node, config.training.devices
    if gpus is None:
        gpus = 0 if config.training.accelerator == "cpu" else devices
    tasks = options.tasks_per_node or gpus or devices
    if gpus and tasks != gpus:
        raise UserError(
            f"--tasks-per-node {tasks} and --gpus-per-node {gpus}: one task each, leave one out"
        )
    return gpus, tasks


def _queue(stage: CheckedStage, after: str | None) -> str:
    """Write the script, hand it to sbatch, and say where the job is; return its id."""
    path = stage.root / f"{stage.kind}.sbatch"
    with usable(f"run_dir {stage.root}"):
        for run in stage.runs:
            run.mkdir(parents=True, exist_ok=True)
            RunFolder(run).jobs.touch()  # the job's first life looks for it
        write_text(path, stage.script.render())
    chain = [] if after is None else [f"--dependency=afterok:{after}", "--kill-on-invalid-dep=yes"]
    job = queue(*chain, str(path))
    log = stage.script.log.replace("%j", job).replace("%A", job)
    for task, run in enumerate(stage.runs):
        name = f"{job}_{task}" if stage.script.sweep else job
        line = {"job": name, "kind": stage.kind, "after": after, "submitted": time.time()}
        append_line(RunFolder(run).jobs, line | {"log": log.replace("%a", str(task))})
    root = shlex.quote(str(stage.root))
    print(
        f"job {job}{'' if after is None else f', after the success of {after}'}\n"
        f"  script: {path}\n"
        f"  log:    {log}\n"
        f"  watch:  ssl-swin status {root} --watch\n"
        f"  curves: tensorboard --logdir {root}\n"
        f"  end it: scancel {job}"
    )
    return job
