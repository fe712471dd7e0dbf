"""Do the processes that were started fit the run? Asked before anything can wait for ever."""

import re
from collections.abc import Mapping

from ssl_swin.launcher import TERMINAL_NAMES, launcher

_BY_HAND = ("NODE_RANK", "MASTER_ADDR", "MASTER_PORT")
# Each process is started by hand, or by a launcher that only Lightning knows.
_EACH_STARTED = ("LOCAL_RANK", "OMPI_COMM_WORLD_RANK", "JSM_NAMESPACE_RANK")


def taken(environment: Mapping[str, str], devices: int, num_nodes: int) -> tuple[int, int]:
    """Return processes on each node, and nodes: torchrun's, where the config leaves both at 1."""
    if launcher(environment) != "torchrun":
        return devices, num_nodes
    theirs = (int(environment["LOCAL_WORLD_SIZE"]), int(environment.get("GROUP_WORLD_SIZE", 1)))
    return (devices if devices > 1 else theirs[0], num_nodes if num_nodes > 1 else theirs[1])


def starts_its_own(environment: Mapping[str, str], devices: int) -> bool:
    """Whether this process has to start the `devices` processes of its node: nobody else did."""
    started_by = launcher(environment)
    if devices == 1 or started_by in ("torchrun", "ssl-swin"):
        return False
    if started_by == "srun":
        return "SLURM_STEP_ID" not in environment
    return not any(name in environment for name in _EACH_STARTED)


def complaint(environment: Mapping[str, str], devices: int, num_nodes: int) -> str | None:
    """Say in one line why this process would wait for others in vain, and what to do.

    It is None if what the config asks for was started, or this process can start it. `devices` are
    training processes on each node.
    """
    if launcher(environment) == "torchrun":
        return _torchrun_misfit(environment, devices, num_nodes)
    if "SLURM_JOB_ID" not in environment:
        return _by_hand_misfit(environment, devices, num_nodes)
    name = environment.get("SLURM_JOB_NAME", "")
    by_hand = name in TERMINAL_NAMES or "SLURM_NTASKS" not in environment
    if "SLURM_STEP_ID" not in environment:
        return _outside_a_step(environment, by_hand, devices, num_nodes)
    tasks = int(environment.get("SLURM_STEP_NUM_TASKS", 1))
    if by_hand and tasks == 1 and num_nodes == 1:
        return None  # a shell on one node, where the processes start each other
    if by_hand:
        return (
            f"this job is named {name!r}, which stands for a person at a terminal, so each of its "
            f"{tasks} tasks would train alone: give it another --job-name"
        )
    if tasks > 1 and "SLURM_NTASKS_PER_NODE" not in environment:
        return (
            f"srun was told how many tasks there are ({tasks}), not how many go on each node: use "
            f"--nodes={num_nodes} --ntasks-per-node={devices} instead of -n or --ntasks"
        )
    return _misfit(environment, tasks, devices, num_nodes)


def _outside_a_step(
    environment: Mapping[str, str], by_hand: bool, devices: int, num_nodes: int
) -> str | None:
    if num_nodes == 1 and (by_hand or int(environment["SLURM_NTASKS"]) == 1):
        return None  # this process starts the others
    return (
        f"this is one process of job {environment['SLURM_JOB_ID']}, and the config asks for "
        f"{num_nodes} nodes with {devices} processes each: put srun before the command "
        f"(srun --nodes={num_nodes} --ntasks-per-node={devices} ssl-swin ...)"
    )


def _misfit(environment: Mapping[str, str], tasks: int, devices: int, num_nodes: int) -> str | None:
    nodes = int(environment.get("SLURM_STEP_NUM_NODES", 1))
    counts = environment.get("SLURM_STEP_TASKS_PER_NODE", str(tasks))
    # SLURM's way of counting: `2(x3),1` are three nodes with 2 tasks and one with 1
    each = {int(count) for count in re.findall(r"(\d+)(?:\(x\d+\))?(?:,|$)", counts)}
    if nodes == num_nodes and each == {devices}:
        return None
    shown = " or ".join(map(str, sorted(each)))
    fix = f"ask SLURM for --nodes={num_nodes} --ntasks-per-node={devices}"
    if len(each) == 1:
        fix = f"give --training.num-nodes {nodes} --training.devices {shown}, or {fix}"
    return (
        f"SLURM started {shown} processes on each of {nodes} nodes, the config asks for "
        f"training.devices={devices} on training.num_nodes={num_nodes}: {fix}"
    )


def _torchrun_misfit(environment: Mapping[str, str], devices: int, num_nodes: int) -> str | None:
    world_size, each = int(environment["WORLD_SIZE"]), int(environment["LOCAL_WORLD_SIZE"])
    nodes, tasks = (
        int(environment.get(it, 1)) for it in ("GROUP_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")
    )
    if nodes == 1 < tasks:
        return (
            f"srun started torchrun {tasks} times, and each knows of itself alone: give srun "
            "--ntasks-per-node=1 and torchrun --nnodes=$SLURM_NNODES --rdzv-backend=c10d "
            "--rdzv-endpoint=FIRST_NODE:29500 --rdzv-id=$SLURM_JOB_ID"
        )
    if environment.get("MASTER_PORT") == "0":
        return "torchrun was given port 0, where nobody listens: give --standalone or --master-port"
    if world_size != each * nodes:
        return (
            f"torchrun started {world_size} processes on {nodes} nodes, and {each} of them on this "
            "one: give the same --nproc-per-node on all"
        )
    if (each, nodes) == (devices, num_nodes):
        return None
    return (
        f"torchrun started {each} processes on each of {nodes} nodes, the config asks for "
        f"training.devices={devices} on training.num_nodes={num_nodes}: give --training.devices "
        f"{each} --training.num-nodes {nodes}, or torchrun --nproc-per-node={devices} "
        f"--nnodes={num_nodes}"
    )


def _by_hand_misfit(environment: Mapping[str, str], devices: int, num_nodes: int) -> str | None:
    missing = [name for name in _BY_HAND if name not in environment]
    if num_nodes == 1 or not missing or any(name in environment for name in _EACH_STARTED):
        return None
    return (
        f"training.num_nodes={num_nodes}, and nobody tells this process where the others are: use "
        f"torchrun --nnodes={num_nodes} --nproc-per-node={devices} on each node, or srun, or set "
        f"{', '.join(missing)}"
    )
