"""The batch script of a job: plain bash that a person can read, edit and `sbatch` by hand.

`slurm/*.sbatch` are this file's output for an invented cluster; a test holds them to it.
"""

from dataclasses import dataclass, field
from shlex import join, quote

from ssl_swin.cluster.options import EVALUATE, Options


@dataclass(frozen=True)
class Script:
    """What is filled into the script of one training, or of one evaluation."""

    kind: str
    """"pretrain", "finetune" or "evaluate"."""
    config: str
    """The run's YAML file; empty if there is none."""
    run_dir: str
    """The run's folder; of a sweep, the folder of its runs; of an evaluation, its output."""
    settings: tuple[str, ...] = ()
    """What the command line says beside the file, `--key value ...`; of an evaluation all words."""
    sweep: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Folder and settings of each task of a job array; empty if it is none."""
    nodes: str = "1"
    """A number, or MIN-MAX."""
    tasks_per_node: int = 1
    gpus_per_node: int = 1
    cpus_per_task: int = 8
    options: Options = field(default_factory=Options)
    """Of these, the numbers above and the program are not read: here they are settled."""
    program: tuple[str, ...] = ("ssl-swin",)
    """How the program is called on a node."""
    log: str = "slurm-%x-%j.out"
    """Pattern of the log's path."""
    folder: str | None = None
    """Folder to run in; None for that of sbatch."""
    submitted: bool = False
    """Whether `submit` has made the run's folder; else the job's first life does."""
    shards_to_cache: bool = False
    """Whether shards come from afar, and are kept on the node's disk."""

    def render(self) -> str:
        """Return the text of the script."""
        facts = self._facts()
        parts = _OF_EVALUATION if self.kind == EVALUATE else _OF_TRAINING
        parts = parts | {"record": ""} if self.submitted else parts
        return TEMPLATE.format(**facts | {key: text.format(**facts) for key, text in parts.items()})

    def _facts(self) -> dict[str, str | int]:
        options = self.options
        return {
            "kind": self.kind,
            "options": "\n".join(self._options()),
            "more": "".join(f"#SBATCH {option}\n" for option in options.sbatch),
            "setup": options.setup.strip() or "# module load ...; source .venv/bin/activate",
            "program": join(self.program),
            "config": f" {quote(self.config)}" if self.config else "",
            "run": self._run(),
            "node_cache": options.node_cache,
            "cache": ' --data.cache-dir "$node_cache/shards"' if self.shards_to_cache else "",
            "srun": "".join(f"{quote(option)} " for option in options.srun),
            "warning_s": options.warning,
            # all are gone in half a minute, and the verdict is before the time limit
            "wait_s": max(1, min(20, options.warning // 3)),
            "max_restarts": options.max_restarts,
            "pause_s": options.pause,
            "tasks": "$SLURM_NTASKS_PER_NODE" if self._fixed else str(self.tasks_per_node),
            "cpus": "$SLURM_CPUS_PER_TASK" if self._fixed else str(self.cpus_per_task),
        }

    def _options(self) -> list[str]:
        """Return the #SBATCH lines with the reasons for those that have one."""
        optional = {"partition": self.options.partition, "account": self.options.account}
        lines = [
            f"##SBATCH --{name}=NAME" if value is None else _sbatch(name, value)
            for name, value in optional.items()
        ]
        lines.append(_sbatch("nodes", self.nodes))
        if self.gpus_per_node:
            lines.append(_sbatch("gpus-per-node", self.gpus_per_node))
        if self._fixed:
            lines += ["# One task for each GPU.", _sbatch("ntasks-per-node", self.tasks_per_node)]
            lines.append(_sbatch("cpus-per-task", self.cpus_per_task))
        else:  # a job that was given tasks never starts again on fewer nodes than it had
            lines += [
                "# Room for the tasks of a node, which are named at srun alone: a job queued",
                "# again could not do with fewer nodes if their number stood here.",
                _sbatch("mincpus", self.tasks_per_node * self.cpus_per_task),
            ]
        lines.append(_sbatch("time", self.options.time))
        lines += [] if self.folder is None else [_sbatch("chdir", self.folder)]
        lines.append(_sbatch("output", self.log))
        return lines + ([_sbatch("array", f"0-{len(self.sweep) - 1}")] if self.sweep else [])

    @property
    def _fixed(self) -> bool:
        return "-" not in self.nodes

    def _run(self) -> str:
        """Return the lines that set the run's folder and settings."""
        if not self.sweep:
            return f"run={quote(self.run_dir)}\nsettings=({join(self.settings)})"
        lines = [
            f"    {task}) run={quote(run_dir)} settings=({join((*self.settings, *settings))}) ;;"
            for task, (run_dir, settings) in enumerate(self.sweep)
        ]
        return "\n".join(["case $SLURM_ARRAY_TASK_ID in", *lines, "esac"])


def _sbatch(name: str, value: str | int) -> str:
    return f"#SBATCH --{name}={quote(str(value))}"


# What only one of the two kinds of scripts has, or says otherwise.
_OF_TRAINING = {
    "leaves": ", saves after its step, and leaves",
    "record": """\
# The record of the run: a later life that does not find it does not begin anew, for its file system
# is away.
[ -n "${{SLURM_RESTART_COUNT:-}}" ] || {{ mkdir -p "$run" && touch "$run/jobs.jsonl"; }}

""",
    "port": """\
# Rank 0 listens on this node: another port in each life, and one that nobody has.
taken() {{ (: <> "/dev/tcp/$1/$MASTER_PORT") 2> /dev/null; }}
export MASTER_PORT=$((10000 + (SLURM_JOB_ID * 7 + ${{SLURM_RESTART_COUNT:-0}} * 1009) % 20000))
while taken localhost || taken "$(hostname)"; do
    MASTER_PORT=$((10000 + (MASTER_PORT + 7) % 20000))
done

""",
    "caches": r"""
# Compiled kernels, and shards from afar, go to the node's own disk: a home folder on the network is
# slow for many ranks.
node_cache="{node_cache}"
node_cache="${{node_cache:-/tmp}}/ssl-swin-$(id -un)"
case $(stat --file-system --format=%T "${{node_cache%/*}}" 2> /dev/null) in
    tmpfs | ramfs)
        echo "ssl-swin: node_cache, ${{node_cache%/*}}, is memory of $(hostname): what lies there" \
            "counts as the job's, and shards from afar may fill it; --node-cache names a disk" ;;
esac
export TORCHINDUCTOR_CACHE_DIR="$node_cache/inductor" TRITON_CACHE_DIR="$node_cache/triton"

""".lstrip(),
    "threads": """\
# Images are decoded by loader processes, one thread each; training.num_threads is for the others.
export OMP_NUM_THREADS=1

# NCCL names what fails, and ends the process instead of waiting for a lost peer for ever; 3 ends it
# without cleaning up first (1 does), for to abort NCCL may itself wait for ever.
export NCCL_DEBUG=WARN TORCH_NCCL_ASYNC_ERROR_HANDLING=3
# If it takes the wrong network (`ip -br addr` on a node names them), choose one:
# export NCCL_SOCKET_IFNAME=ib0 GLOO_SOCKET_IFNAME=ib0
""",
    "together": """\
# Nodes and processes are what SLURM gave. All leave together after a save. One that fails does not
# end the others at once: they have {wait_s} s to notice, and to say where they were.
""",
    "exists": "SSL_SWIN_RUN_EXISTS=1 ",
    "command": """\
{kind}{config} "${{settings[@]}}" --run-dir "$run"{cache} \\
    --training.num-nodes "$SLURM_JOB_NUM_NODES" --training.devices "$tasks_per_node" \
""",
    "kept": "what it saved is in $run",
}
_OF_EVALUATION = {
    "leaves": " and leaves; what it computed is kept",
    "record": """\
# The record of the job, for the verdict and `ssl-swin status`.
[ -n "${{SLURM_RESTART_COUNT:-}}" ] || {{
    mkdir -p "$run" &&
        printf '{{"job": "%s", "kind": "{kind}"}}\\n' "$SLURM_JOB_ID" >> "$run/jobs.jsonl"
}}

""",
    "port": "",
    "caches": """\
# Compiled kernels go to the node's own disk. Features do not, for the next life goes on with them.
node_cache="{node_cache}"
export TRITON_CACHE_DIR="${{node_cache:-/tmp}}/ssl-swin-$(id -un)/triton"

""",
    "threads": """\
# The probe, and without a GPU the network, take all CPUs of a task; a loader process takes one.
export OMP_NUM_THREADS={cpus}
""",
    "together": """\
# Nodes and processes are what SLURM gave. They share the images, and meet in the cache of features
# alone. Then the first one measures, and the others have ended, which must not end it: --wait=0.
# Whoever waits for a process that is gone leaves by itself.
""",
    "exists": "",
    "wait_s": "0",
    "command": """\
{kind} "${{settings[@]}}" -o "$run" \
""",
    "kept": "what it computed is kept",
}

TEMPLATE = r"""#!/bin/bash
# `ssl-swin {kind}` on SLURM: edit what is your cluster's, then sbatch this file.
# Submitted again, it goes on where it stopped. slurm/README.md in the repository tells more.
#
#SBATCH --job-name=ssl-{kind}
{options}
# So many seconds before the time is up every task gets SIGUSR1{leaves}.
#SBATCH --signal=USR1@{warning_s}
# The job may be queued again: below, and by SLURM after a preemption or the loss of a node.
#SBATCH --requeue
# All lives of the job write one log.
#SBATCH --open-mode=append
{more}
# A warning that this shell gets (scancel --batch, --full) is passed on to the tasks, and must not
# end it before the verdict. SIGTERM ends it: after scancel there is none.
step= warned=0
trap 'warned=1; [ -z "$step" ] || kill -USR1 "$step"' USR1

{setup}
set +eu # a status other than 0 is looked at below
program=({program})
{run}

# What another job or a shell left behind would mislead this one.
unset MASTER_ADDR MASTER_PORT RANK LOCAL_RANK NODE_RANK WORLD_SIZE

{record}{port}{caches}{threads}
{together}tasks_per_node={tasks} cpus_per_task={cpus}
{exists}srun --kill-on-bad-exit=0 --wait={wait_s} --unbuffered \
    --ntasks=$((SLURM_JOB_NUM_NODES * tasks_per_node)) --ntasks-per-node="$tasks_per_node" \
    --cpus-per-task="$cpus_per_task" {srun}\
    "${{program[@]}}" {command}&
step=$!
[ $warned = 0 ] || kill -USR1 "$step"
while # a signal ends `wait`, and not the step
    warned=0
    wait "$step"
    status=$?
    [ $warned = 1 ]
do :; done
step=

# Status 75 is "saved, asked to stop". A failure gets another life, at most 3 times in a row; the
# same mistake of the user, twice, does not. One line in the log says which it was. What the verdict
# prints is to change of the queued job: when it starts, and a node to do without.
changes=$("${{program[@]}}" verdict "$run" "$status" \
    --max-restarts {max_restarts} --pause {pause_s})
verdict=$?
[ $verdict = 4 ] && status=0 # it has finished; a process that was ended while it left lost nothing
if [ $verdict != 0 ] && [ $verdict != 3 ] && [ $status != 0 ]; then
    # It could not be asked: its storage is away, or it is in a container.
    failures=0 changes=
    if [ $status != 75 ]; then
        echo "$SLURM_JOB_ID" >> "$run/not_judged.txt"
        failures=$(grep -cx "$SLURM_JOB_ID" "$run/not_judged.txt")
        changes=StartTime=now+{pause_s}
    fi
    if [ "${{failures:-0}}" -le 3 ] && [ "${{SLURM_RESTART_COUNT:-0}}" -lt {max_restarts} ]; then
        verdict=0
    fi
    again=$([ $verdict = 0 ] && echo queued again || echo the end)
    echo "ssl-swin: $again: status $status, and ssl-swin cannot be asked"
fi
if [ $verdict = 0 ]; then
    # A task of an array has a number of its own; the bare job id may mean the whole array.
    job=${{SLURM_ARRAY_JOB_ID:+${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID}}
    job=${{job:-$SLURM_JOB_ID}}
    for pause in 5 10 20 40 80 160; do # the controller may be away for a while
        [ -n "$changes" ] && trap '' TERM # only once the job is queued, it can be changed
        if scontrol requeue "$job"; then
            [ -n "$changes" ] && scontrol update JobId="$job" $changes
            trap - TERM
            sleep 300 # SLURM ends this script here
        fi
        trap - TERM
        scontrol show job "$job" | grep -q " Requeue=0" && break # it may not be queued again
        sleep $pause
    done
    echo "ssl-swin: job $job could not be queued again; {kept}: sbatch goes on"
fi
exit $status # SLURM takes the last status for the job's
"""
