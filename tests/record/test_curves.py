import os
import time

import pytest

from ssl_swin.record.curves import keep_points, last_point, put_in_order
from ssl_swin.record.lines import append_line, read_lines
from ssl_swin.record.run_folder import RunFolder


def test_points_after_the_checkpoint_are_left_out_and_each_stands_once(tmp_path):
    path = tmp_path / "metrics.jsonl"
    keep_points(path, 3)
    assert not path.exists()
    for speed, steps in ((1.0, (1, 2, 3, 4)), (2.0, (3, 4, 5))):  # as releases before wrote it
        for step in steps:
            append_line(path, {"step": step, "train/loss": step / 3, "speed": speed})
            append_line(path, {"step": step, "heldout/loss": 0.5})
    with path.open("a") as file:
        file.write('{"step": 3, "trai')
    keep_points(path, 4)
    lines = read_lines(path)
    points = [
        (line["step"], line["train/loss"], line["speed"]) for line in lines if "speed" in line
    ]
    assert points == [(1, 1 / 3, 1.0), (2, 2 / 3, 1.0), (3, 1.0, 2.0), (4, 4 / 3, 2.0)]
    assert len(lines) == 8
    keep_points(path, 0)
    assert path.read_text() == ""


def test_the_last_point_of_a_curve_is_found(tmp_path):
    folder = RunFolder(tmp_path)
    assert last_point(folder, "speed") is None
    for line in ({"step": 1, "speed": 1.0}, {"step": 2, "speed": 2.0}, {"step": 2, "loss": 3.0}):
        append_line(folder.metrics, line)
    assert last_point(folder, "speed") == 2.0


@pytest.mark.parametrize(
    ("mine", "kind"),
    [(None, "train"), (0, "held-out"), (-5, "train"), (0, "tensorboard")],  # the last: release 0.1
)
def test_files_from_the_future_are_older_than_this_life_s(tmp_path, monkeypatch, mine, kind):
    folder, now = RunFolder(tmp_path), int(time.time())
    monkeypatch.setattr("socket.gethostname", lambda: "n1")
    place = tmp_path / kind
    place.mkdir()
    names = [(-90, "a.1.0"), (-60, "n1.1.0"), (3 * 86400, "n1.2.0"), (4 * 86400, "a.3.0")]
    if mine is not None:
        names.append((mine, f"n1.{os.getpid()}.0"))
    for seconds, rest in names:
        (place / f"events.out.tfevents.{now + seconds}.{rest}").write_text(rest)
    put_in_order(folder)
    found = sorted(place.iterdir())
    assert [path.read_text() for path in found] == [rest for _, rest in names]
    assert [path.name.split(".", 4)[4] for path in found] == [rest for _, rest in names]
    latest = max(int(path.name.split(".")[3]) for path in found)
    assert latest <= int(time.time())
