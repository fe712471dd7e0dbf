"""`ssl-swin submit`: check a run, write its batch script into the run folder, hand it to SLURM."""

import itertools
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ssl_swin.cluster import checks
from ssl_swin.cluster.options import Options, Request, Stage
from ssl_swin.cluster.script import Script
from ssl_swin.command_line import read_config
from ssl_swin.config.run import FinetuneConfig, RunConfig
from ssl_swin.data.shards.names import is_remote
from ssl_swin.errors import UserError
from ssl_swin.record.lines import append_line, write_text
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.runs.sizes import count_network

_LEAKED = re.compile(
    r"(SLURM|SLURMD|SBATCH|SRUN|SALLOC)_.*|MASTER_(ADDR|PORT)|(NODE_|LOCAL_)?RANK|"
    r"(LOCAL_)?WORLD_SIZE"
)
_KEPT = ("SLURM_CONF",)  # where the cluster is


@dataclass(frozen=True)
class CheckedStage:
    """A stage that was checked, with its script."""

    kind: str
    root: Path
    runs: tuple[Path, ...]
    """Run folders, in the order of the array's tasks; `root` alone if it is no array."""
    script: Script
    said: tuple[str, ...]
    """What the checks found."""

    @property
    def path(self) -> Path:
        """Where the script is kept."""
        return self.root / f"{self.kind}.sbatch"


def submit(request: Request) -> None:
    """Check runs, then write their batch scripts and queue them, or do nothing if a check fails.

    Args:
        request: What a command line asks for.

    Raises:
        UserError: If a check fails, or sbatch does.
    """
    before: Path | None = None
    prepared: list[CheckedStage] = []
    for stage in request.stages:
        one = _prepare(stage, before)
        before = one.root
        if one.runs:
            prepared.append(one)
        elif stage is request.stages[-1]:
            raise UserError(f"{'; '.join(one.said)}; give another --run_dir")
        else:
            print(f"left out: {'; '.join(one.said)}")
    roots = [run.resolve() for one in prepared for run in one.runs]
    if len(set(roots)) < len(roots):
        raise UserError("two of the runs have the same run_dir: give each its own --run_dir")
    for one in prepared:
        said = [*one.said, _would_start(one.script)]
        print("\n".join([f"{one.kind} {one.root}", *(f"  {line}" for line in said)]))
        if request.dry_run:
            print(f"\n{one.script.render()}")
    job: str | None = None
    for one in () if request.dry_run else prepared:
        job = _queue(one, after=job)


def _prepare(stage: Stage, before: Path | None) -> CheckedStage:
    """Check a stage; it has no runs if all of them are finished."""
    arguments = list(stage.arguments)
    config, life = read_config(stage.kind, arguments)
    if before is not None and isinstance(config, FinetuneConfig) and config.encoder is None:
        arguments += ["--encoder", str(before)]
        config, life = read_config(stage.kind, arguments)
    root = Path(config.run_dir)
    if re.search(r"[%\n\"'\\]", str(root.absolute())):
        raise UserError(f"run_dir {root} holds a character that SLURM reads as another: rename it")
    sweep = _sweep(root, stage.options.array)
    said: list[str] = []
    left: list[tuple[str, tuple[str, ...]]] = []
    for run_dir, settings in sweep or ((str(root), ()),):
        one, _ = read_config(stage.kind, [*arguments, *settings, "--run_dir", run_dir])
        try:
            found = _check(one, stage, life["resume_from"], None if before is None else str(before))
            left.append((run_dir, settings))
        except checks.FinishedRun as finished:
            found = [str(finished)]
        said += [line for line in found if line not in said]
    runs = tuple(Path(run_dir) for run_dir, _ in left)
    script = _script(config, stage, tuple(arguments), tuple(left) if sweep else ())
    return CheckedStage(stage.kind, root, runs, script, tuple(said))


def _check(
    config: RunConfig, stage: Stage, resume_from: Path | None, before: str | None
) -> list[str]:
    """Run the checks of one training and return what they found."""
    options, tasks_per_node = stage.options, _tasks_per_node(config, stage.options)
    folder = RunFolder(Path(config.run_dir))
    life_s = checks.check_time(options.time, options.warning)
    found = [checks.check_folder(config, resume_from)]
    if isinstance(config, FinetuneConfig):
        encoder = checks.check_encoder(config.encoder, before)
        found += [f"encoder: {encoder or 'none, from scratch'}"]
    fewest, most = (nodes * tasks_per_node for nodes in _num_nodes(config, options))
    sizes = checks.open_sizes(config, most)
    return [
        *found,
        f"data: {sizes.num_images:,d} images",
        checks.describe_world(sizes, fewest),
        checks.estimate_hours(sizes, folder, options.images_per_s, life_s),
        checks.check_disk(config, sizes, count_network(config)),
    ]


def _sweep(root: Path, array: tuple[str, ...]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return folder and settings of each combination of the values.

    Raises:
        UserError: If one is not KEY=VALUE,VALUE.
    """
    keys = []
    for text in array:
        key, separator, values = text.removeprefix("--").partition("=")
        if not separator or not key or not all(values.split(",")):
            raise UserError(f"--array {text}: write KEY=VALUE,VALUE, for example seed=0,1,2")
        keys.append([(key, value) for value in values.split(",")])
    if not keys:
        return ()
    tasks = []
    for pairs in itertools.product(*keys):
        name = re.sub(r"[^\w.=+-]", "_", ",".join(f"{key}={value}" for key, value in pairs))
        settings = tuple(word for key, value in pairs for word in (f"--{key}", value))
        tasks.append((str(root / name), settings))
    return tuple(tasks)


def _script(
    config: RunConfig,
    stage: Stage,
    arguments: tuple[str, ...],
    sweep: tuple[tuple[str, tuple[str, ...]], ...],
) -> Script:
    options, root = stage.options, Path(config.run_dir).absolute()
    gpus = _gpus_per_node(config, options)
    program = (
        shlex.split(options.program) if options.program else [sys.executable, "-m", "ssl_swin"]
    )
    cpus = options.cpus_per_task or config.data.num_workers + 1
    return Script(
        kind=stage.kind,
        config=arguments[0],
        run_dir=config.run_dir,
        settings=_without_run_dir(arguments[1:]),
        sweep=sweep,
        nodes=options.nodes or str(config.training.num_nodes),
        tasks_per_node=_tasks_per_node(config, options),
        gpus_per_node=gpus,
        cpus_per_task=cpus,
        time=options.time,
        partition=options.partition,
        account=options.account,
        more=options.sbatch,
        warning_s=options.warning,
        max_restarts=options.max_restarts,
        log=f"{root}/slurm-%A_%a.out" if sweep else f"{root}/slurm-%j.out",
        folder=os.getcwd(),
        setup=options.setup,
        program=tuple(program),
        srun=options.srun,
        node_cache=options.node_cache,
        shards_to_cache=config.data.cache_dir is None and any(map(is_remote, config.data.patterns)),
    )


def _without_run_dir(settings: tuple[str, ...]) -> tuple[str, ...]:
    """Leave out --run_dir, which the script sets in a line of its own."""
    before = ("", *settings)
    return tuple(
        word
        for last, word in zip(before, settings, strict=False)
        if "--run_dir" not in (last, word) and not word.startswith("--run_dir=")
    )


def _num_nodes(config: RunConfig, options: Options) -> tuple[int, int]:
    text = options.nodes or str(config.training.num_nodes)
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", text)
    fewest, most = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 1 <= fewest <= most:
        raise UserError(f"--nodes {text}: give a number, or MIN-MAX such as 2-4")
    return fewest, most


def _gpus_per_node(config: RunConfig, options: Options) -> int:
    if options.gpus_per_node is not None:
        return options.gpus_per_node
    return 0 if config.training.accelerator == "cpu" else config.training.devices


def _tasks_per_node(config: RunConfig, options: Options) -> int:
    gpus = _gpus_per_node(config, options)
    tasks = options.tasks_per_node or gpus or config.training.devices
    if gpus and tasks != gpus:
        raise UserError(f"--tasks-per-node {tasks} and --gpus-per-node {gpus}: one task each")
    return tasks


def _queue(stage: CheckedStage, after: str | None) -> str:
    """Write the script, hand it to sbatch, and say where the job is; return its id."""
    for run in stage.runs:
        run.mkdir(parents=True, exist_ok=True)
    write_text(stage.path, stage.script.render())
    chain = [] if after is None else [f"--dependency=afterok:{after}", "--kill-on-invalid-dep=yes"]
    job = _sbatch([*chain, str(stage.path)])
    log = stage.script.log.replace("%j", job).replace("%A", job)
    for task, run in enumerate(stage.runs):
        name = f"{job}_{task}" if stage.script.sweep else job
        line = {"job": name, "kind": stage.kind, "after": after, "submitted": time.time()}
        append_line(RunFolder(run).jobs, line | {"log": log.replace("%a", str(task))})
    root = shlex.quote(str(stage.root))
    print(
        f"job {job}{'' if after is None else f', after the success of {after}'}\n"
        f"  script: {stage.path}\n"
        f"  log:    {log}\n"
        f"  watch:  ssl-swin status {root} --watch\n"
        f"  curves: tensorboard --logdir {root}\n"
        f"  end it: scancel {job}"
    )
    return job


def _would_start(script: Script) -> str:
    """Say when SLURM would start this job, or why not; that is no refusal: nodes may come back."""
    environment, _ = clean(os.environ)
    try:
        answer = subprocess.run(
            ["sbatch", "--test-only"],
            input=script.render(),
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return "SLURM is not here and was not asked"
    return " ".join(answer.stderr.split()).removeprefix("sbatch: ")


def _sbatch(arguments: list[str]) -> str:
    environment, dropped = clean(os.environ)
    if dropped:
        names = ", ".join(dropped[:3]) + (", ..." if len(dropped) > 3 else "")
        print(f"{len(dropped)} variables of another job are not handed on: {names}")
    command = ["sbatch", "--parsable", *arguments]
    try:
        answer = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False
        )
    except FileNotFoundError as error:
        raise UserError(
            "there is no sbatch here: submit on a login node of the cluster (--dry-run works "
            "everywhere)"
        ) from error
    if answer.returncode:
        raise UserError(f"sbatch refused {arguments[-1]}: {' '.join(answer.stderr.split())}")
    return answer.stdout.strip().partition(";")[0]


def clean(environment: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Drop the variables that another job left behind; return the rest and the dropped names."""
    dropped = [name for name in environment if _LEAKED.fullmatch(name) and name not in _KEPT]
    return {name: environment[name] for name in environment if name not in dropped}, dropped
