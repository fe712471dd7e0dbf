import pytest

from ssl_swin.cluster.allocation import complaint

JOB = {"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "train"}


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
        ({}, 8, 4),  # no SLURM: torchrun, or a laptop
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
        (step("2(x2)", 2, 4), 4, 2, "--training.num_nodes 2 --training.devices 2"),
        (step("2", 1, 2), 1, 2, "SLURM started 2 processes on each of 1 nodes"),
        (step("2,1", 2, 3), 2, 2, "SLURM started 1 or 2 processes on each of 2 nodes"),
        (step("3(x2),1", 3, 7), 3, 3, "ask SLURM for --nodes=3 --ntasks-per-node=3"),
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
