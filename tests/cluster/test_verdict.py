import json
import os

import pytest

from ssl_swin import errors
from ssl_swin.cluster.verdict import MAX_FAILURES, decide, verdict
from ssl_swin.record.lines import append_line, read_json, read_lines
from tests.cluster.bin import write_programs


@pytest.fixture
def live(tmp_path):
    """Pretend one life of a run, from a step to the last one saved, and judge its end."""
    lives = []

    def run(begin, saved, status, job="7", restart=None, max_restarts=100, told=None):
        lives.append(begin)
        restart = len(lives) - 1 if restart is None else restart
        line = {"life": len(lives), "step": begin, "world_size": 2}
        append_line(tmp_path / "lives.jsonl", line | (told or {}))
        for step in saved:
            append_line(tmp_path / "checkpoints.jsonl", {"step": step, "reasons": ["steps"]})
        return judge(status, job, restart, max_restarts)

    def judge(status, job="7", restart=0, max_restarts=100):
        found = decide(tmp_path, status, job, restart, max_restarts)
        append_line(tmp_path / "verdicts.jsonl", found.record)
        assert "\n" not in found.why
        return found

    run.again = judge
    return run


def test_what_is_finished_stays(live):
    assert not live(0, [10], 0).requeue


def test_what_was_asked_to_stop_goes_on(live):
    found = live(0, [10], 75)
    assert found.requeue
    assert found.why == "asked to stop, saved at step 10"


def test_an_evaluation_goes_on_too_and_has_no_steps(live, tmp_path):
    append_line(tmp_path / "jobs.jsonl", {"job": "7", "kind": "evaluate"})
    found = live.again(75)
    assert (found.requeue, found.why) == (True, "asked to stop, what it computed is kept")
    found = live.again(1, restart=1)
    assert (found.requeue, found.pauses) == (True, True)
    said = f"failed with status 1; failure 1 in a row, at most {MAX_FAILURES} are tried again"
    assert found.why == said
    assert [live.again(1, restart=restart).requeue for restart in (2, 3, 4)] == [True, True, False]
    assert not live.again(0, restart=5).requeue


def test_an_evaluation_whose_numbers_are_there_is_finished_whoever_was_killed_then(live, tmp_path):
    summary = tmp_path / "summary.json"
    summary.write_text("{}")  # of an earlier job
    append_line(tmp_path / "jobs.jsonl", {"job": "7", "kind": "evaluate"})
    os.utime(tmp_path / "jobs.jsonl", (2e9, 2e9))
    assert live.again(137).requeue
    os.utime(summary, (2e9 + 1, 2e9 + 1))
    assert live.again(75, restart=1).requeue  # it was asked to stop
    found = live.again(137, restart=2)
    assert (found.requeue, found.why) == (False, "finished")


def test_the_same_error_of_the_user_twice_is_the_end(live, tmp_path):
    told = {"life": None, "job": "7", "status": 2}
    first = live.again(2)
    assert (first.requeue, first.pauses) == (True, True)  # storage that is away can look like it
    assert first.why.endswith("the same once more is the end")
    assert not live.again(2, restart=1).requeue
    assert live.again(2, job="8").requeue  # its user has submitted it again
    append_line(tmp_path / "ends.jsonl", told | {"restart": 3, "reason": "UserError: seed"})
    found = live.again(2, restart=3)
    assert (found.requeue, "UserError: seed" in found.why) == (True, True)  # another one
    append_line(tmp_path / "ends.jsonl", told | {"restart": 4, "reason": "UserError: seed"})
    assert not live.again(2, restart=4).requeue


def test_out_of_memory_is_the_same_whichever_rank_and_however_much(live, tmp_path):
    told = {"status": 2, "reason": "UserError: out of memory in step 1: 78.9 GB allocated; try"}
    other = told | {"reason": "rank 3: UserError: out of memory in step 1: 79.1 GB allocated; try"}
    append_line(tmp_path / "ends.jsonl", told | {"life": 1})
    append_line(tmp_path / "ends.jsonl", other | {"life": 2})
    assert live(0, [], 2).requeue
    found = live(0, [], 137)  # the other ranks were killed
    assert (found.requeue, found.record["status"]) == (False, 2)
    assert "an error of the command or its config" in found.why


@pytest.mark.parametrize("owner", [{"job": "8", "restart": 0}, {"job": "7", "restart": 1}])
def test_a_lost_folder_is_left_alone(live, tmp_path, owner):
    append_line(tmp_path / "owner.json", owner)
    found = live(0, [10], errors.LOST)
    assert (found.requeue, "owns the run folder" in found.why) == (False, True)


def test_a_process_that_ends_with_the_same_status_has_not_lost_its_folder(live, tmp_path):
    append_line(tmp_path / "owner.json", {"job": "7", "restart": 0})
    assert live(0, [10], errors.LOST).requeue


@pytest.mark.parametrize("status", [1, 3, 9, 134, 137, 139])
def test_a_failure_is_tried_again_after_a_pause_if_the_life_got_no_further(live, status):
    found = live(0, [10], status)
    assert (found.requeue, found.pauses) == (True, False)
    found = live(10, [], status)
    assert (found.requeue, found.pauses) == (True, True)


def test_three_failures_in_a_row_are_tried_again_and_no_fourth(live):
    found = [live(10 * life, [10 * life + 10], 1) for life in range(MAX_FAILURES + 1)]
    assert [one.requeue for one in found] == [True, True, True, False]
    assert "failure 4 in a row" in found[-1].why


def test_lives_that_get_no_further_have_tries_of_their_own(live):
    assert all(live(step, [step + 1], 1).requeue for step in range(MAX_FAILURES))
    found = [live(MAX_FAILURES, [], 1) for _ in range(MAX_FAILURES + 1)]
    assert [one.requeue for one in found] == [True, True, True, False]
    assert "failure 4 in a row" in found[-1].why


def test_a_life_that_gets_further_ends_a_row_of_those_that_do_not(live):
    assert all(live(0, [], 1).requeue for _ in range(MAX_FAILURES))
    assert live(0, [1], 1).requeue
    assert all(live(1, [], 1).requeue for _ in range(MAX_FAILURES))
    assert not live(1, [], 1).requeue


def test_a_verdict_of_an_earlier_release_was_of_a_life_that_got_further(live, tmp_path):
    for _ in range(MAX_FAILURES):
        append_line(tmp_path / "verdicts.jsonl", {"life": 9, "status": 1, "requeue": True})
    assert not live(0, [1], 1).requeue
    assert live(1, [], 1).requeue


def test_the_node_is_the_one_that_failed_first(live, tmp_path, monkeypatch):
    for node in ("n2", "n1"):
        append_line(tmp_path / "ends.jsonl", {"life": 1, "reason": "x", "status": 1, "node": node})
    assert live(0, [], 1).node == "n2"
    monkeypatch.setenv("SLURMD_NODENAME", "n3")
    assert live(0, [], 1).node is None
    monkeypatch.setenv("SLURM_JOB_NUM_NODES", "1")
    assert live(0, [], 1).node == "n3"


def test_nodes_are_forgiven_once_a_life_got_further(live, tmp_path):
    line = {"requeue": True, "status": 1, "further": False}
    append_line(tmp_path / "verdicts.jsonl", line | {"without": "n1"})
    append_line(tmp_path / "verdicts.jsonl", line | {"further": True})
    append_line(tmp_path / "verdicts.jsonl", line | {"without": "n2"})
    assert live(0, [], 1).forgiven == {"n1"}


@pytest.mark.parametrize(("saved", "status"), [([1], 75), ([1], 1)])
def test_a_node_comes_back_after_a_life_that_did_not_come_to_nothing(
    live, tmp_path, monkeypatch, capsys, saved, status
):
    monkeypatch.setenv("PATH", f"{write_programs(tmp_path / 'bin')}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "16")
    bad = {"job": "16", "status": 1, "requeue": True, "further": False, "without": "n9"}
    append_line(tmp_path / "verdicts.jsonl", bad)
    append_line(tmp_path / "lives.jsonl", {"life": 1, "step": 0})
    append_line(tmp_path / "checkpoints.jsonl", {"step": saved[0], "reasons": ["steps"]})
    assert verdict(tmp_path, status) == 0
    assert capsys.readouterr().out == "ExcNodeList=n8\n"  # which its user does without
    assert read_lines(tmp_path / "verdicts.jsonl")[-1]["back"] == ["n9"]
    assert live(1, [2], 75, job="16").forgiven == frozenset()  # SLURM is asked once


def test_a_life_that_was_asked_to_stop_ends_the_row(live):
    assert all(live(step, [step + 1], 1).requeue for step in range(3))
    assert live(3, [4], 75).requeue
    assert all(live(step, [step + 1], 1).requeue for step in range(4, 7))
    assert not live(7, [8], 1).requeue


def test_a_life_that_never_came_to_train_made_no_progress(live):
    assert live(0, [10], 75).requeue
    assert live.again(1, restart=1).pauses  # it died before it wrote its line


def test_the_line_of_another_job_is_not_this_lifes(live):
    assert live(0, [10], 75, told={"job": "7", "restart": 0}).requeue
    assert live(10, [20], 1, told={"job": "7", "restart": 1}).requeue
    found = live.again(1, job="8")
    assert found.pauses
    assert "before it saved anything new" in found.why


def test_the_number_of_starts_is_bounded(live):
    assert live(0, [10], 75, restart=4, max_restarts=5).requeue
    found = live(10, [20], 75, restart=5, max_restarts=5)
    assert not found.requeue
    assert "SLURM started this job 5 times again already" in found.why


def test_the_reason_a_life_gave_is_told(live, tmp_path):
    append_line(tmp_path / "ends.jsonl", {"life": 1, "reason": "error: no route to storage"})
    assert "status 1 (error: no route to storage)" in live(0, [10], 1).why


def test_the_first_reason_is_told_for_later_ones_are_consequences(live, tmp_path):
    for reason in ("rank 3: MemoryError", "Connection closed by peer"):
        append_line(tmp_path / "ends.jsonl", {"life": 1, "reason": reason, "status": 1})
    assert "(rank 3: MemoryError)" in live(0, [10], 1).why


def test_a_life_that_saved_and_hung_in_leaving_has_not_failed(live, tmp_path):
    end = {"life": 1, "step": 10, "reason": "signal SIGUSR1", "status": 75}
    append_line(tmp_path / "ends.jsonl", end)
    found = live(0, [10], 137)
    assert (found.requeue, found.record["status"]) == (True, 75)


def test_a_run_that_finished_and_hung_in_leaving_has_finished(live, tmp_path):
    append_line(tmp_path / "ends.jsonl", {"life": 1, "step": 10, "reason": "finished", "status": 0})
    assert live(0, [10], 1).why == "finished"


@pytest.mark.parametrize("status", [138, 143])
def test_a_signal_before_anything_began_is_no_failure(live, status):
    assert live(0, [10], 75, told={"job": "7", "restart": 0}).requeue
    assert live.again(status, restart=1).requeue
    assert live(10, [], status, told={"job": "7", "restart": 1}).pauses


def test_the_command_says_one_line_and_leaves_with_the_answer(tmp_path, capsys, monkeypatch):
    (tmp_path / "jobs.jsonl").touch()
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "2")
    assert verdict(tmp_path, 75) == 0
    assert verdict(tmp_path, 1, pause=5) == 0
    assert verdict(tmp_path, 0) == 4
    said = capsys.readouterr()
    assert said.err.count("\n") == 3
    assert said.out == "\nStartTime=now+5\n\n"
    first, second, _ = read_lines(tmp_path / "verdicts.jsonl")
    assert (first["job"], first["restart"], first["status"]) == ("7", 2, 75)
    assert second["why"].endswith("after a pause of 5 s")


def test_a_run_that_has_finished_is_told_from_one_that_is_not_tried_again(live, tmp_path):
    append_line(tmp_path / "ends.jsonl", {"life": 1, "reason": "finished", "status": 0})
    assert not live(0, [40], 138).requeue
    append_line(tmp_path / "lives.jsonl", {"life": 2, "step": 40})
    append_line(tmp_path / "ends.jsonl", {"life": 2, "reason": "finished", "status": 0})
    assert verdict(tmp_path, 138) == 4


def test_where_the_run_folder_is_away_nothing_is_written(tmp_path):
    assert verdict(tmp_path, 1) == 0
    assert verdict(tmp_path / "never", 1) == 0
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(("status", "answer"), [(0, 4), (1, 0), (75, 0)])
def test_a_verdict_stands_that_cannot_be_written_or_read(tmp_path, capsys, status, answer):
    (tmp_path / "jobs.jsonl").touch()
    (tmp_path / "verdicts.jsonl").mkdir()
    assert verdict(tmp_path, status) == answer
    assert "stands, and cannot be written down" in capsys.readouterr().err
    (tmp_path / "loop").symlink_to("loop")
    assert verdict(tmp_path / "loop" / "x", status) == answer


def test_a_damaged_record_is_passed_over(tmp_path):
    path = tmp_path / "lives.jsonl"
    path.write_text(json.dumps({"life": 1}) + "\n[1]\n{not json\n" + '{"life": 2')
    assert read_lines(path) == [{"life": 1}]
    assert read_json(path) == {}
    assert read_json(tmp_path / "no") == {}
