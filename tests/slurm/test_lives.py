"""Twenty lives in a row, ended by whatever comes: the run ends where it would have ended alone."""

import os
import random
import signal
import time

import pytest

from ssl_swin.cluster.status import describe
from ssl_swin.record.run_folder import RunFolder
from tests.slurm.cluster import until
from tests.slurm.whole import assert_whole

pytestmark = [pytest.mark.slurm, pytest.mark.slow]
NUM_LIVES, NUM_EPOCHS = 20, 4
SETTINGS = (
    f"--optim.epochs={NUM_EPOCHS}",
    "--training.checkpoint-every-steps=2",
    "--training.step-timeout-s=15",
)


def test_twenty_lives(user, straight):
    draw = random.Random(0)
    events = draw.choices(("warning", "kill"), k=NUM_LIVES - 3)
    for place in range(3, len(events)):  # a fourth failure in a row is not tried again
        if "warning" not in events[place - 3 : place]:
            events[place] = "warning"
    warnings = [place for place, event in enumerate(events) if event == "warning"]
    for place, event in zip(
        draw.sample(warnings, 4), ["suspended", "shell warned"] * 2, strict=True
    ):
        events[place] = event
    # Of four nodes two can be lost. They stay away: after a minute SLURM (22.05) sends what was to
    # end the old life once more, and to a node that is back it ends the job's next life.
    for _ in range(2):
        events.insert(draw.randrange(len(events)), "node")
    # Three starts die in their imports besides, two of them in a row, and write no life down.
    dying = (5, 6, 14)
    words = (*SETTINGS, "--max-restarts", NUM_LIVES + len(dying))
    run = user.submit(*words, SLOW_S=0.05, DIE_IN_IMPORTS=",".join(map(str, dying)))
    for life, event in enumerate(events, start=1):
        until(lambda life=life: len(run.lines("lives")) == life, f"life {life}", 240)
        began = run.lines("lives")[-1]["step"]
        run.reach(began + draw.randint(3, 5), life)
        if event == "suspended":
            suspend(user, run, seconds=20)  # longer than a step may take
        if event in ("warning", "suspended"):
            user.cluster.ask("scancel", "--signal=USR1", run.job)
        elif event == "shell warned":
            user.cluster.ask("scancel", "--batch", "--signal=USR1", run.job)
        elif event == "kill":
            os.kill(draw.choice(sorted(run.ranks())), signal.SIGKILL)
        else:
            user.cluster.fail(draw.choice(run.nodes()))
    found = run.finish(seconds=300)
    assert found["Restarts"] == str(NUM_LIVES - 1 + len(dying))
    assert len(run.lines("lives")) == NUM_LIVES
    assert sum("suspended_s" in end for end in run.lines("ends")) == events.count("suspended")
    told = [line for line in describe(RunFolder(run.folder)).splitlines() if "  life " in line]
    assert [line.split(":")[0].split()[1] for line in told] == [
        str(life + 1) for life in range(NUM_LIVES)
    ]
    for line, event in zip(told, [*events, "finished"], strict=True):
        ended = {"finished": ": finished", "kill": "", "node": ""}.get(event, ": signal SIGUSR1")
        assert line.endswith(ended)
    assert_whole(run.folder, straight(*SETTINGS))


def suspend(user, run, seconds):
    user.cluster.ask("scontrol", "suspend", run.job)
    run.wait("SUSPENDED", seconds=30)
    time.sleep(seconds)
    user.cluster.ask("scontrol", "resume", run.job)
    run.wait("RUNNING", seconds=30)
