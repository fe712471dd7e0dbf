"""The scripts in slurm/ are the rendered ones; run as a module, this file accepts a change."""

import getpass
import shlex
import socket
import subprocess
from pathlib import Path

import pytest

from ssl_swin.cluster.options import Options
from ssl_swin.cluster.script import Script
from ssl_swin.record.lines import read_lines

SLURM = Path(__file__).parents[2] / "slurm"
EXAMPLES = {
    "pretrain": Script(
        kind="pretrain",
        config="configs/pretrain/swin_base_simmim_100ep.yaml",
        run_dir="runs/pretrain",
        settings=("--data.shards", "shards/mine", "--data.val-shards", "null"),
        nodes="2",
        tasks_per_node=8,
        gpus_per_node=8,
        cpus_per_task=8,
        options=Options(time="12:00:00"),
    ),
    "finetune": Script(
        kind="finetune",
        config="configs/finetune/swin_base_simmim.yaml",
        run_dir="runs/finetune",
        settings=("--data.shards", "shards/labelled", "--encoder", "runs/pretrain"),
        nodes="1",
        tasks_per_node=8,
        gpus_per_node=8,
        cpus_per_task=8,
        options=Options(time="12:00:00"),
    ),
    "evaluate": Script(
        kind="evaluate",
        config="",
        run_dir="runs/pretrain/evaluation/frozen-val",
        settings=("runs/pretrain", "random", "--data", "shards/labelled", "--test", "shards/val"),
        options=Options(time="2:00:00"),
    ),
}

# Prints the words of each call instead of running it.
BASH = """
srun() { printf '%s\\n' srun "$@"; return "$SRUN_STATUS"; }
scontrol() { printf '%s\\n' scontrol "$@"; }
ssl-swin() { printf '%s\\n' verdict "$@" >> judged; echo "$CHANGES"; return "$VERDICT"; }
sleep() { exit 99; }
cd "$(mktemp -d)"
trap 'cat judged; rm -r "$PWD"' EXIT
"""


@pytest.mark.parametrize("kind", EXAMPLES)
def test_the_shipped_scripts_are_rendered(kind):
    accept = "to accept the change: python -m tests.cluster.test_script"
    assert (SLURM / f"{kind}.sbatch").read_text() == EXAMPLES[kind].render(), accept


def run(script, status=0, verdict=3, **variables):
    """Run a script with its commands replaced; return their words, and its status."""
    environment = {
        "PATH": "/usr/bin:/bin",
        "SLURM_JOB_ID": "7",
        "SLURM_JOB_NUM_NODES": "3",
        "SLURM_NTASKS_PER_NODE": "2",
        "SLURM_CPUS_PER_TASK": "4",
        "SRUN_STATUS": str(status),
        "VERDICT": str(verdict),
        "CHANGES": "",
        **variables,
    }
    text = BASH + script.render()
    answer = subprocess.run(["bash"], input=text, env=environment, capture_output=True, text=True)
    assert answer.stderr == ""
    return answer.stdout.splitlines(), answer.returncode


def test_a_warning_to_the_shell_is_passed_on_and_does_not_end_it():
    """As `scancel --batch --signal=USR1`; the step leaves with 75 only if it is passed on."""
    step = "srun() { trap 'exit 75' USR1; kill -USR1 $$; while :; do :; done; }\n"
    environment = {"PATH": "/usr/bin:/bin", "SLURM_JOB_ID": "7", "VERDICT": "3"}
    text = BASH + step + Script("pretrain", "c.yaml", "r").render()
    answer = subprocess.run(
        ["bash"], input=text, env=environment, capture_output=True, text=True, timeout=60
    )
    assert answer.returncode == 75
    assert "verdict\nverdict\nr\n75\n" in answer.stdout


def test_hostile_words_reach_the_program_unchanged():
    words = ("--data.shards", "a b/{0..1}.tar", "--x", "$(touch y)", "--y", 'it\'s "so" `z`; #')
    script = Script("pretrain", "my config.yaml", "runs/a 'b'", settings=words)
    called, _ = run(script)
    wanted = ["ssl-swin", "pretrain", "my config.yaml", *words, "--run-dir", "runs/a 'b'"]
    place = called.index("ssl-swin")
    assert called[place : place + len(wanted)] == wanted


def test_shards_from_afar_are_kept_on_the_node():
    script = Script(
        "pretrain", "c.yaml", "r", options=Options(node_cache="$MINE"), shards_to_cache=True
    )
    called, _ = run(script, MINE="/scratch/7")
    place = called.index("--data.cache-dir")
    assert called[place + 1] == f"/scratch/7/ssl-swin-{getpass.getuser()}/shards"
    assert "--data.cache-dir" not in Script("pretrain", "c.yaml", "r").render()


@pytest.mark.parametrize("nodes", ["3", "1-4"])
def test_the_world_comes_from_the_allocation(nodes):
    script = Script("pretrain", "c.yaml", "r", nodes=nodes, tasks_per_node=2, cpus_per_task=4)
    called, _ = run(script)
    place = called.index("--training.num-nodes")
    assert called[place : place + 4] == ["--training.num-nodes", "3", "--training.devices", "2"]
    assert {"--ntasks=6", "--ntasks-per-node=2", "--cpus-per-task=4"} <= set(called)
    asked = script.render()
    assert ("#SBATCH --ntasks-per-node=2" in asked) == (nodes == "3")
    assert ("#SBATCH --mincpus=8" in asked) == (nodes == "1-4")


def test_each_task_of_an_array_has_its_own_folder_and_settings():
    sweep = (("r/seed=0", ("--seed", "0")), ("r/seed=1", ("--seed", "1")))
    script = Script("pretrain", "c.yaml", "r", settings=("--optim.epochs", "3"), sweep=sweep)
    called, _ = run(script, SLURM_ARRAY_TASK_ID="1")
    start = called.index("c.yaml")
    wanted = ["--optim.epochs", "3", "--seed", "1", "--run-dir", "r/seed=1"]
    assert called[start + 1 : start + 7] == wanted
    assert "#SBATCH --array=0-1" in script.render().splitlines()


def test_without_a_verdict_the_number_of_lives_is_bounded_too():
    script = Script("pretrain", "c.yaml", "r", options=Options(max_restarts=5))
    for restarts, requeued in ((4, True), (5, False)):
        called, _ = run(script, 75, 127, SLURM_RESTART_COUNT=str(restarts))
        assert ("requeue" in called) == requeued


def test_a_setup_that_ends_at_the_first_failure_does_not_end_the_script():
    script = Script("pretrain", "c.yaml", "r", options=Options(setup="set -euo pipefail"))
    called, left = run(script, 75, 0)
    assert ("requeue" in called, left) == (True, 99)  # of `sleep`, where SLURM would end it


def test_a_variable_that_the_node_does_not_have_is_no_folder_at_the_root():
    options = Options(node_cache="$NOT")
    called, _ = run(Script("pretrain", "c.yaml", "r", options=options, shards_to_cache=True))
    assert called[called.index("--data.cache-dir") + 1].startswith("/tmp/ssl-swin-")


@pytest.mark.parametrize(
    ("status", "verdict", "requeued"),
    [
        (0, 4, False),
        (138, 4, False),  # finished, and ended by a signal while it left
        (75, 0, True),
        (75, 3, False),  # for too often
        (1, 0, True),
        (1, 3, False),
        (2, 3, False),
        (75, 127, True),  # the program does not run outside of srun: the status alone decides
        (1, 127, True),
        (0, 127, False),
    ],
)
def test_the_verdict_decides_and_the_status_is_the_jobs(status, verdict, requeued):
    called, left = run(Script("pretrain", "c.yaml", "r"), status, verdict)
    judged = called.index("verdict")
    wanted = ["verdict", "r", str(status), "--max-restarts", "100", "--pause", "60"]
    assert called[judged + 1 : judged + 8] == wanted
    assert ("requeue" in called) == requeued
    ended = 0 if verdict == 4 else status
    assert left == (99 if requeued else ended)  # 99: it waits there for SLURM to end it


@pytest.mark.parametrize("failures", [2, 3])
def test_without_a_verdict_three_failures_are_tried_again(failures, tmp_path):
    (tmp_path / "not_judged.txt").write_text("7\n" * failures + "77\n")
    called, _ = run(Script("pretrain", "c.yaml", str(tmp_path)), 1, 127)
    assert ("requeue" in called) == (failures == 2)
    assert ("StartTime=now+60" in called) == (failures == 2)


def test_what_the_verdict_prints_is_changed_once_the_job_is_queued():
    called, _ = run(
        Script("pretrain", "c.yaml", "r"), 1, 0, CHANGES="StartTime=now+60 ExcNodeList=n1"
    )
    wanted = ["scontrol", "requeue", "7", "scontrol", "update", "JobId=7", "StartTime=now+60"]
    place = called.index("scontrol")
    assert called[place : place + 8] == [*wanted, "ExcNodeList=n1"]


def test_each_life_has_a_port_that_is_free():
    line = next(
        one
        for one in Script("pretrain", "c.yaml", "r").render().splitlines()
        if "srun --kill" in one
    )
    script = BASH + Script("pretrain", "c.yaml", "r").render().replace(
        line, f"echo $MASTER_PORT\n{line}"
    )

    def port(restart):
        variables = {"SLURM_JOB_ID": "123456", "SLURM_JOB_NUM_NODES": "1", "SRUN_STATUS": "0"}
        variables |= {"SLURM_RESTART_COUNT": restart, "VERDICT": "3", "PATH": "/usr/bin:/bin"}
        said = subprocess.run(["bash"], input=script, env=variables, capture_output=True, text=True)
        return int(said.stdout.split()[0])

    ports = [port(str(restart)) for restart in range(3)]
    assert len({*ports}) == 3
    assert all(10000 <= one < 30000 for one in ports)
    with socket.socket() as other:
        other.bind(("", ports[0]))
        other.listen()
        assert port("0") not in (ports[0], 0)


def test_a_job_that_was_not_submitted_makes_its_record_in_its_first_life(tmp_path):
    for submitted in (True, False):
        for restart, made in (("1", False), ("", not submitted)):
            folder = tmp_path / f"{submitted}-{restart}"
            script = Script("pretrain", "c.yaml", str(folder), submitted=submitted)
            run(script, **({"SLURM_RESTART_COUNT": restart} if restart else {}))
            assert (folder / "jobs.jsonl").exists() == made


def test_an_evaluation_is_called_with_its_words_and_its_folder():
    words = ("a b", "random", "--data", "x/{0..1}.tar", "--test", "$(touch y)")
    script = Script("evaluate", "", "out", words, nodes="1-2", tasks_per_node=3, cpus_per_task=4)
    called, left = run(script, SLURM_JOB_NUM_NODES="2")
    assert left == 0
    place = called.index("ssl-swin")
    assert called[place : called.index("verdict")] == [
        *("ssl-swin", "evaluate", *words, "-o", "out")
    ]
    assert {"--ntasks=6", "--wait=0", "--cpus-per-task=4"} <= {*called}
    assert "export OMP_NUM_THREADS=4" in script.render().splitlines()


@pytest.mark.parametrize(("restart", "made"), [("", True), ("1", False)])
def test_an_evaluation_that_was_not_submitted_says_what_it_is(tmp_path, restart, made):
    script = Script("evaluate", "", str(tmp_path / "out"), submitted=False)
    run(script, **({"SLURM_RESTART_COUNT": restart} if restart else {}))
    lines = read_lines(tmp_path / "out/jobs.jsonl")
    assert lines == ([{"job": "7", "kind": "evaluate"}] if made else [])


@pytest.mark.parametrize(("node_cache", "told"), [("/dev/shm", True), ("/proc", False)])
def test_a_cache_in_memory_is_told(node_cache, told):
    said, _ = run(Script("pretrain", "c.yaml", "r", options=Options(node_cache=node_cache)))
    assert any("is memory of" in line for line in said) == told


def test_a_task_of_an_array_requeues_itself_only():
    script = Script("pretrain", "c.yaml", "r")
    called, _ = run(script, 75, 0, SLURM_ARRAY_JOB_ID="5", SLURM_ARRAY_TASK_ID="2")
    assert called[called.index("requeue") + 1] == "5_2"


def test_options_are_quoted_and_a_missing_one_is_left_to_be_filled_in():
    options = Options(partition="a b", sbatch=("--mem=200G",))
    script = Script("pretrain", "c.yaml", "r", options=options)
    lines = script.render().splitlines()
    assert {"#SBATCH --partition='a b'", "##SBATCH --account=NAME", "#SBATCH --mem=200G"} <= set(
        lines
    )


def test_a_container_goes_before_the_program():
    program = ("apptainer", "exec", "--nv", "my image.sif", "ssl-swin")
    options = Options(srun=("--label",))
    text = Script("pretrain", "c.yaml", "r", options=options, program=program).render()
    assert f"program=({shlex.join(program)})" in text
    assert '--cpus-per-task="$cpus_per_task" --label \\' in text


if __name__ == "__main__":
    for kind, script in EXAMPLES.items():
        (SLURM / f"{kind}.sbatch").write_text(script.render())
