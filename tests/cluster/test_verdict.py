import json

import pytest

from ssl_swin import errors
from ssl_swin.cluster.verdict import MAX_FAILURES, decide, verdict
from ssl_swin.record.lines import append_line, read_json, read_lines


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


def test_an_error_of_the_user_is_never_tried_again(live):
    assert not live(0, [10], 2).requeue


@pytest.mark.parametrize("owner", [{"job": "8", "restart": 0}, {"job": "7", "restart": 1}])
def test_a_lost_folder_is_left_alone(live, tmp_path, owner):
    append_line(tmp_path / "owner.json", owner)
    found = live(0, [10], errors.LOST)
    assert (found.requeue, "owns the run folder" in found.why) == (False, True)


def test_a_process_that_ends_with_the_same_status_has_not_lost_its_folder(live, tmp_path):
    append_line(tmp_path / "owner.json", {"job": "7", "restart": 0})
    assert live(0, [10], errors.LOST).requeue


@pytest.mark.parametrize("status", [1, 3, 9, 134, 137, 139])
def test_a_failure_is_tried_again_if_the_life_got_further(live, status):
    assert live(0, [10], status).requeue
    assert not live(10, [], status).requeue


def test_three_failures_in_a_row_are_tried_again_and_no_fourth(live):
    found = [live(10 * life, [10 * life + 10], 1) for life in range(MAX_FAILURES + 1)]
    assert [one.requeue for one in found] == [True, True, True, False]
    assert "failure 4 in a row" in found[-1].why


def test_a_life_that_was_asked_to_stop_ends_the_row(live):
    assert all(live(step, [step + 1], 1).requeue for step in range(3))
    assert live(3, [4], 75).requeue
    assert all(live(step, [step + 1], 1).requeue for step in range(4, 7))
    assert not live(7, [8], 1).requeue


def test_a_life_that_never_came_to_train_made_no_progress(live):
    assert live(0, [10], 75).requeue
    assert not live.again(1, restart=1).requeue  # it died before it wrote its line


def test_the_line_of_another_job_is_not_this_lifes(live):
    assert live(0, [10], 75, told={"job": "7", "restart": 0}).requeue
    assert live(10, [20], 1, told={"job": "7", "restart": 1}).requeue
    found = live.again(1, job="8")
    assert not found.requeue
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


@pytest.mark.parametrize("status", [138, 143])
def test_a_signal_before_anything_began_is_no_failure(live, status):
    assert live(0, [10], 75, told={"job": "7", "restart": 0}).requeue
    assert live.again(status, restart=1).requeue
    assert not live(10, [], status, told={"job": "7", "restart": 1}).requeue


def test_the_command_says_one_line_and_leaves_with_the_answer(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "2")
    assert verdict(tmp_path, 75) == 0
    assert verdict(tmp_path, 1) == 3
    assert capsys.readouterr().out.count("\n") == 2
    first, _ = read_lines(tmp_path / "verdicts.jsonl")
    assert (first["job"], first["restart"], first["status"]) == ("7", 2, 75)
    assert verdict(tmp_path / "never", 1) == 3
    assert not (tmp_path / "never").exists()


def test_a_damaged_record_is_passed_over(tmp_path):
    path = tmp_path / "lives.jsonl"
    path.write_text(json.dumps({"life": 1}) + "\n[1]\n{not json\n" + '{"life": 2')
    assert read_lines(path) == [{"life": 1}]
    assert read_json(path) == {}
    assert read_json(tmp_path / "no") == {}
