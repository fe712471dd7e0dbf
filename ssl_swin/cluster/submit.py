"""`ssl-swin submit`: check a stage, write its batch script into its folder, hand it to SLURM."""

import itertools
import os
import re
import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ssl_swin.cluster import checks
from ssl_swin.cluster.checks import CheckedStage
from ssl_swin.cluster.evaluation import prepare_evaluation
from ssl_swin.cluster.options import EVALUATE, Options, Request, Stage
from ssl_swin.cluster.save_interval import describe_saves
from ssl_swin.cluster.sbatch import queue, would_start
from ssl_swin.cluster.script import Script
from ssl_swin.cluster.step_before import begins_with_last, describe_encoder, maker_of, teacher_of
from ssl_swin.command_line import read_config
from ssl_swin.config.flags import with_hyphens
from ssl_swin.config.run import RunConfig, begins_with
from ssl_swin.config.settings import with_values
from ssl_swin.data.shards.names import is_remote
from ssl_swin.errors import UserError, usable
from ssl_swin.record.lines import append_line, write_text
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.record.tracking import require_packages
from ssl_swin.runs.sizes import count_steps, machine_needs


def submit(request: Request) -> None:
    """Check stages, then write their batch scripts and queue them, or nothing if a check fails.

    Raises:
        UserError: If a check fails, or sbatch does.
    """
    trained: list[RunConfig] = []
    prepared: list[CheckedStage] = []
    refused: list[str] = []
    for stage in request.stages:
        if stage.kind == EVALUATE:
            one = prepare_evaluation(stage, trained, request.dry_run)
        else:
            config, one = _prepare(stage, trained, request.dry_run)
            trained.append(config)
        if one.runs:
            prepared.append(one)
        elif stage is request.stages[-1]:
            raise UserError(f"{'; '.join(one.said)}; give another --run-dir")
        else:
            print(f"left out: {'; '.join(one.said)}")
    roots = [run.resolve() for one in prepared for run in one.runs]
    if len(set(roots)) < len(roots):
        raise UserError(
            "two of the runs have the same run_dir: give each its own --run-dir, and each "
            "evaluation its own -o"
        )
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
        queued = _queue(one, after=job)
        job = job if one.kind == EVALUATE else queued  # nothing waits for an evaluation


def _prepare(
    stage: Stage, before: Sequence[RunConfig], dry_run: bool
) -> tuple[RunConfig, CheckedStage]:
    """Check a stage after those `before`; it has no runs if all of them are finished.

    Return its config, as far as that is settled.
    """
    arguments = [with_hyphens(word) for word in stage.arguments]
    config, life = read_config(stage.kind, arguments)
    words, said = begins_with_last(config, life["given"], before)
    if words:
        arguments += words
        config, _ = read_config(stage.kind, arguments)
    settled = config
    root = Path(config.run_dir)
    checks.check_name("run_dir", root)
    sweep = _sweep(root, stage.options.array)
    left: list[tuple[str, tuple[str, ...]]] = []
    for run_dir, settings in sweep or ((str(root), ()),):
        one, life = read_config(stage.kind, [*arguments, *settings, "--run-dir", run_dir])
        try:
            settled, found, lanes = _check(one, stage, life, before, dry_run)
            left.append((run_dir, (*settings, *lanes)))
        except checks.FinishedRun as finished:
            found = [str(finished)]
        said += [line for line in found if line not in said]
    runs = tuple(Path(run_dir) for run_dir, _ in left)
    if not sweep:
        arguments += [word for _, settings in left for word in settings]
    script = _script(config, stage, tuple(arguments), tuple(left) if sweep else ())
    return settled, CheckedStage(stage.kind, root, runs, script, tuple(said))


def _check(
    config: RunConfig,
    stage: Stage,
    life: Mapping[str, Any],
    before: Sequence[RunConfig],
    dry_run: bool,
) -> tuple[RunConfig, list[str], list[str]]:
    """Run the checks of one training.

    Return its config as settled, what the checks found, and words that settle its lanes.

    A first life may have fewer processes than a later one: lanes are those for the most there can
    be.
    """
    options, folder = stage.options, RunFolder(Path(config.run_dir))
    require_packages(config.training.loggers)
    if life["find_micro_batch"]:
        raise UserError("--find-micro-batch is no run: start it on a node, with srun or salloc")
    gpus, tasks_per_node = _per_node(config, options)
    fewest, most = options.num_nodes(config.training.num_nodes)
    layout = {"training.devices": tasks_per_node, "training.num_nodes": most}
    config = with_values(config, layout)
    life_s = checks.check_time(options.time, options.warning)
    checks.check_folder(folder, "run_dir")
    maker = maker_of(begins_with(config)[1], before)
    start = checks.find_start(config, life["resume_from"], life["given"], gpus > 0, maker)
    found = [*start.told, *life["told"]]
    if start.is_new:  # later, the checkpoint has its weights
        found += describe_encoder(config, life["given"], maker is not None, dry_run)
    sizes = count_steps(start.config, start.order, most * tasks_per_node)
    checkpoint_bytes, of_network = checks.check_network(start, maker_of(teacher_of(config), before))
    found += [
        *of_network,
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
    lanes = [] if settled == config.data.num_lanes else ["--data.num-lanes", str(settled)]
    return start.config, found, lanes


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
        program=options.how_called(),
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


def _per_node(config: RunConfig, options: Options) -> tuple[int, int]:
    return options.per_node(config.training.devices, config.training.accelerator != "cpu")


def _queue(stage: CheckedStage, after: str | None) -> str:
    """Write the script, hand it to sbatch, and say where the job is; return its id."""
    path = stage.root / f"{stage.kind}.sbatch"
    with usable(f"run_dir {stage.root}"):
        for run in stage.runs:
            run.mkdir(parents=True, exist_ok=True)
            RunFolder(run).jobs.touch()  # the job's first life looks for it
        write_text(path, stage.script.render())
    after = ":".join(dict.fromkeys([*([] if after is None else [after]), *stage.after])) or None
    chain = [] if after is None else [f"--dependency=afterok:{after}", "--kill-on-invalid-dep=yes"]
    job = queue(*chain, str(path))
    log = stage.script.log.replace("%j", job).replace("%A", job)
    for task, run in enumerate(stage.runs):
        name = f"{job}_{task}" if stage.script.sweep else job
        line = {"job": name, "kind": stage.kind, "after": after, "submitted": time.time()}
        append_line(RunFolder(run).jobs, line | {"log": log.replace("%a", str(task))})
    root = shlex.quote(str(stage.root))
    told = f"  curves: tensorboard --logdir {root}\n"
    if stage.kind == EVALUATE:
        told = f"  found:  {root}, once it is done: the log has the tables, too\n"
    first = "" if after is None else f", after the success of {after.replace(':', ' and ')}"
    print(
        f"job {job}{first}\n"
        f"  script: {path}\n"
        f"  log:    {log}\n"
        f"  watch:  ssl-swin status {root} --watch\n"
        f"{told}"
        f"  end it: scancel {job}"
    )
    return job
