import os

import pytest

from ssl_swin.cluster.allocation import complaint, starts_its_own, taken
from ssl_swin.launcher import STARTED_BY, launcher

OWN = {STARTED_BY: str(os.getppid()), "LOCAL_RANK": "1"}
BY_HAND = {"LOCAL_RANK": "0", "NODE_RANK": "1", "MASTER_ADDR": "a", "MASTER_PORT": "1"}
JOB = {"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "train"}


def torchrun(each, nodes, **more):
    """The variables of a process that torchrun started."""
    known = {"TORCHELASTIC_RUN_ID": "x", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": str(each)}
    sizes = {"GROUP_WORLD_SIZE": str(nodes), "WORLD_SIZE": str(each * nodes)}
    return known | sizes | more


def step(tasks_per_node, nodes, tasks, **more):
    """The variables of a task that srun started."""
    return {
        **JOB,
        "SLURM_STEP_ID": "0",
        "SLURM_NTASKS": str(tasks),
        "SLURM_NTASKS_PER_NODE": tasks_per_node.partition("(")[0],
        "SLURM_STEP_NUM_TASKS": str(tasks),
        "SLURM_STEP_NUM_NODES": str(nodes),
        "SLURM_STEP_TASKS_PER_NODE": tasks_per_node,
        **more,
    }


@pytest.mark.parametrize(
    ("environment", "devices", "num_nodes"),
    [
        ({}, 8, 1),  # a laptop
        (BY_HAND, 8, 4),
        ({"JSM_NAMESPACE_RANK": "3"}, 8, 4),  # a launcher that Lightning knows
        ({**JOB, "SLURM_NTASKS": "1"}, 8, 1),  # a batch script without srun starts its own
        (step("2(x3)", 3, 6), 2, 3),
        (step("1", 1, 1), 1, 1),
        ({**JOB, "SLURM_NTASKS": "1"}, 1, 1),  # a batch script without srun, alone
        ({**JOB, "SLURM_JOB_NAME": "interactive", "SLURM_NTASKS": "2"}, 2, 1),  # salloc
        (step("1", 1, 1, SLURM_JOB_NAME="bash"), 2, 1),  # srun --pty bash
    ],
)
def test_what_fits_is_let_through(environment, devices, num_nodes):
    assert complaint(environment, devices, num_nodes) is None


@pytest.mark.parametrize(
    ("environment", "devices", "num_nodes", "said"),
    [
        ({**JOB, "SLURM_NTASKS": "4"}, 2, 2, "put srun before the command"),
        ({**JOB, "SLURM_NTASKS": "4"}, 1, 1, "put srun before the command"),
        (JOB, 2, 2, "srun --nodes=2 --ntasks-per-node=2"),
        ({**JOB, "SLURM_JOB_NAME": "interactive"}, 1, 2, "put srun before the command"),
        (step("2(x2)", 2, 4, SLURM_JOB_NAME="bash"), 2, 2, "give it another --job-name"),
        (step("2(x2)", 2, 4, SLURM_JOB_NAME="interactive"), 2, 2, "is named 'interactive'"),
        (step("2(x2)", 2, 4), 4, 2, "--training.num-nodes 2 --training.devices 2"),
        (step("2", 1, 2), 1, 2, "SLURM started 2 processes on each of 1 nodes"),
        (step("2,1", 2, 3), 2, 2, "SLURM started 1 or 2 processes on each of 2 nodes"),
        (step("3(x2),1", 3, 7), 3, 3, "ask SLURM for --nodes=3 --ntasks-per-node=3"),
        ({}, 8, 2, "torchrun --nnodes=2 --nproc-per-node=8 on each node, or srun, or set NODE_"),
        (
            torchrun(4, 2),
            8,
            2,
            "give --training.devices 4 --training.num-nodes 2, or torchrun --np",
        ),
        (torchrun(4, 2, WORLD_SIZE="6"), 4, 2, "give the same --nproc-per-node on all"),
        (torchrun(2, 1, MASTER_PORT="0"), 2, 1, "give --standalone or --master-port"),
        ({**step("1", 4, 4), **torchrun(8, 1)}, 8, 1, "srun started torchrun 4 times"),
    ],
)
def test_what_would_hang_is_said_in_one_line(environment, devices, num_nodes, said):
    found = complaint(environment, devices, num_nodes)
    assert said in found
    assert "\n" not in found


def test_a_number_of_tasks_without_one_for_each_node_is_refused():
    environment = step("2", 1, 2)
    del environment["SLURM_NTASKS_PER_NODE"]
    assert "--nodes=1 --ntasks-per-node=2 instead of -n" in complaint(environment, 2, 1)


SRUN = step("1(x2)", 2, 2)


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({}, None),
        ({"LOCAL_RANK": "1"}, None),
        (SRUN, "srun"),
        ({**SRUN, "SLURM_JOB_NAME": "bash"}, None),
        (torchrun(2, 1), "torchrun"),
        ({**SRUN, **torchrun(2, 2)}, "torchrun"),
        (OWN, "ssl-swin"),
        ({**JOB, "SLURM_NTASKS": "1", **OWN}, "ssl-swin"),
        ({**OWN, STARTED_BY: "1"}, None),  # of a process above, handed down by a rank
    ],
)
def test_who_started_a_process_is_told_by_its_variables(environment, found):
    assert launcher(environment) == found


@pytest.mark.parametrize("environment", [torchrun(4, 2), {**SRUN, **torchrun(4, 2)}])
def test_torchrun_says_how_many_there_are_where_the_config_does_not(environment):
    assert (
        taken(environment, 1, 1) == taken(environment, 4, 1) == taken(environment, 1, 2) == (4, 2)
    )
    assert complaint(environment, 4, 2) is None
    assert taken(environment, 8, 1) == (8, 2)
    assert taken(SRUN, 1, 1) == (1, 1)


@pytest.mark.parametrize(
    ("environment", "devices", "starts"),
    [
        ({}, 1, False),
        ({}, 2, True),
        ({"RANK": "0", "WORLD_SIZE": "1"}, 2, True),  # left behind by something else
        (BY_HAND, 2, False),
        (OWN, 2, False),
        (torchrun(2, 1), 2, False),
        (step("2", 1, 2), 2, False),
        ({**JOB, "SLURM_NTASKS": "1"}, 2, True),
        ({**JOB, "SLURM_NTASKS": "1", "LOCAL_RANK": "0"}, 2, True),
        (step("1", 1, 1, SLURM_JOB_NAME="bash"), 2, True),
    ],
)
def test_processes_are_started_where_nobody_else_starts_them(environment, devices, starts):
    assert starts_its_own(environment, devices) is starts
