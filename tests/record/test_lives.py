import pytest

from ssl_swin.errors import UserError
from ssl_swin.record.lines import append_line
from ssl_swin.record.lives import count_lives, last_step, require_same_shards
from ssl_swin.record.run_folder import RunFolder

SHARDS = {"num_shards": 2, "num_samples": 9, "fingerprint": "abc"}


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


def test_other_shards_are_refused_by_what_differs_first():
    require_same_shards(SHARDS, SHARDS)
    require_same_shards({}, SHARDS)  # a folder that says nothing
    with pytest.raises(UserError, match=r"changed: num_samples was 9, is 8; .* --resume-from"):
        require_same_shards(SHARDS, SHARDS | {"num_samples": 8, "fingerprint": "x"})
