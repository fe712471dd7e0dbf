"""Do the processes that SLURM started fit the run? Asked before anything can wait for ever."""

import re
from collections.abc import Mapping

# Lightning takes a job of such a name for a person at a terminal: every task believes to be rank 0.
_TERMINAL_NAMES = ("bash", "interactive")


def complaint(environment: Mapping[str, str], devices: int, num_nodes: int) -> str | None:
    """Say in one line why this process would wait for others in vain, and what to do.

    It is None if SLURM started what the config asks for, or did not start this process. `devices`
    are training processes on each node.
    """
    if "SLURM_JOB_ID" not in environment:
        return None
    name = environment.get("SLURM_JOB_NAME", "")
    by_hand = name in _TERMINAL_NAMES or "SLURM_NTASKS" not in environment
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
    if num_nodes == 1 and (by_hand or int(environment["SLURM_NTASKS"]) == devices == 1):
        return None
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
        fix = f"give --training.num_nodes {nodes} --training.devices {shown}, or {fix}"
    return (
        f"SLURM started {shown} processes on each of {nodes} nodes, the config asks for "
        f"training.devices={devices} on training.num_nodes={num_nodes}: {fix}"
    )
