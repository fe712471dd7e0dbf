import pytest

from ssl_swin.errors import MachineError, ShardError, UserError
from ssl_swin.record.lines import append_line
from ssl_swin.record.lives import (
    count_lives,
    last_step,
    nearest_place,
    require_record,
    require_same_shards,
    spent,
)
from ssl_swin.record.run_folder import RunFolder

SHARDS = {"num_shards": 2, "num_samples": 9, "fingerprint": "abc"}


def test_what_lives_took_is_added_up_of_those_that_told(tmp_path):
    folder = RunFolder(tmp_path)
    assert spent(folder) == (0, 0, 0, 0, 0)
    assert spent(folder).steps_per_s() is None
    for life, step in ((1, 0), (2, 0), (3, 10)):
        append_line(folder.lives, {"life": life, "step": step, "world_size": 4})
    append_line(folder.ends, {"life": None, "reason": "a failed start", "status": 1})
    append_line(folder.ends, {"life": 2, "step": 12, "seconds": 6.0})
    append_line(folder.ends, {"life": 2, "step": 11, "seconds": 7.0})  # of another rank
    append_line(folder.ends, {"life": 3, "step": 40, "seconds": 15.0})
    assert spent(folder) == (3, 1, 21.0, 84.0, 42)
    assert spent(folder).steps_per_s() == 2.0


def test_a_new_folder_had_no_life_and_is_at_the_beginning(tmp_path):
    folder = RunFolder(tmp_path / "run")
    assert (count_lives(folder), last_step(folder)) == (0, 0)
    assert not folder.root.exists()


def test_lives_and_the_last_saved_step_are_found(tmp_path):
    folder = RunFolder(tmp_path)
    for life in (1, 2, 3):
        append_line(folder.lives, {"life": life})
        assert count_lives(folder) == life
    for step in (5, 9):
        append_line(folder.checkpoints, {"step": step, "reasons": ["steps"]})
        assert last_step(folder) == step
    with folder.checkpoints.open("a") as file:
        file.write('{"step": 12, "rea')  # killed while it wrote
    assert last_step(folder) == 9


def test_a_checkpoint_says_its_step_where_the_line_is_lost(trained):
    folder = RunFolder(trained[1])
    for lines in (b"", b"\0" * 60, b'{"step": 1, "reasons": ["steps"]}\n' + b"\0" * 40):
        folder.checkpoints.write_bytes(lines)
        assert last_step(folder) == 2
    whole = folder.last.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], b"no zip"):
        folder.last.write_bytes(damaged)
        assert last_step(folder) == 1  # of its line


def test_lives_are_counted_in_a_file_that_is_damaged(tmp_path):
    folder = RunFolder(tmp_path)
    folder.lives.write_bytes(b'{"life": 1}\n\xff\0\0\n{"life": 3}\n')
    assert count_lives(folder) == 3


def test_other_shards_are_refused_by_what_differs_first():
    require_same_shards(SHARDS, SHARDS)
    require_same_shards({}, SHARDS)  # a folder that says nothing
    with pytest.raises(UserError, match=r"changed: num_samples was 9, is 8; .* --resume-from"):
        require_same_shards(SHARDS, SHARDS | {"num_samples": 8, "fingerprint": "x"})


def test_a_run_is_new_only_where_nothing_was_before(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path / "run")
    require_record(folder)
    assert not folder.root.exists()
    for name, value in (("SLURM_RESTART_COUNT", "1"), ("SSL_SWIN_RUN_EXISTS", "1")):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            with pytest.raises(MachineError, match=r"holds no record of this run on .*mounted"):
                require_record(folder)
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    folder.root.mkdir()
    folder.jobs.touch()
    require_record(folder)  # the life before died before it began


def test_a_job_of_any_script_leaves_a_record_for_its_restart(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path / "deep" / "run")
    monkeypatch.setenv("SLURM_PROCID", "1")
    require_record(folder)
    assert not folder.root.exists()
    monkeypatch.setenv("SLURM_PROCID", "0")
    require_record(folder)
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    require_record(folder)  # the life before died in its imports


def test_a_run_that_saved_and_has_no_checkpoint_is_not_begun_anew(tmp_path):
    folder = RunFolder(tmp_path)
    append_line(folder.checkpoints, {"step": 20})
    with pytest.raises(
        MachineError, match=r"names a checkpoint of step 20, and \S+last.ckpt is not"
    ):
        require_record(folder)
    folder.previous.parent.mkdir()
    folder.previous.touch()
    require_record(folder)


def test_the_disk_of_a_folder_to_come_is_that_of_the_nearest_place(tmp_path):
    assert nearest_place(RunFolder(tmp_path / "run" / "deep")) == tmp_path
    assert nearest_place(RunFolder(tmp_path)) == tmp_path


def test_a_run_folder_that_cannot_be_made_is_the_users(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot be written to: .*file; give another --run-dir"):
        require_record(RunFolder(tmp_path / "file" / "run"))


def test_fewer_shards_are_missing_and_more_are_others():
    known = {"num_shards": 3, "num_samples": 30}
    with pytest.raises(ShardError, match="2 of the 3 training shards are missing"):
        require_same_shards(known, {"num_shards": 1, "num_samples": 10})
    with pytest.raises(UserError, match="num_shards was 3, is 4") as other:
        require_same_shards(known, {"num_shards": 4, "num_samples": 40})
    assert not isinstance(other.value, ShardError)
