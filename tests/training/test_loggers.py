import csv
import time

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ssl_swin import main_memory
from ssl_swin.record.curves import keep_points, put_in_order
from ssl_swin.record.lines import read_lines
from ssl_swin.record.owner import LostOwnership, Ownership
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.training.clock import Clock
from ssl_swin.training.life_record import LifeRecord
from ssl_swin.training.loggers import Ledger, Scalars, make_loggers
from tests.training.tiny import BATCH, batches, fit, learner


def log(folder, start_step, steps, value):
    for logger in make_loggers(folder, start_step):
        for step in steps:
            logger.log_metrics({"loss": value}, step)
        logger.finalize("success")


def test_points_that_come_again_stand_once_in_tensorboard(tmp_path):
    folder = RunFolder(tmp_path)
    log(folder, 0, [1, 2, 3, 4], 0.1)
    time.sleep(1.1)  # TensorBoard reads files in the order of the seconds in their names
    log(folder, 2, [3, 4, 5], 0.2)  # saved after step 2, killed after step 4
    events = EventAccumulator(str(folder.train)).Reload().Scalars("loss")
    assert [event.step for event in events] == [1, 2, 3, 4, 5]
    assert [round(event.value, 6) for event in events] == [0.1, 0.1, 0.2, 0.2, 0.2]


def test_a_clock_that_was_ahead_hides_no_later_step(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path)
    log(folder, 0, [1, 2, 3, 4], 0.1)
    now = time.time()
    for start, days, host in ((2, 3, "ahead"), (4, 0, "right")):
        monkeypatch.setattr("time.time", lambda days=days: now + 2 + 86400 * days)
        monkeypatch.setattr("socket.gethostname", lambda host=host: host)
        put_in_order(folder)
        log(folder, start, [start + 1, start + 2, start + 3], start / 10)
    events = EventAccumulator(str(folder.train)).Reload().Scalars("loss")
    assert [event.step for event in events] == [1, 2, 3, 4, 5, 6, 7]
    assert [round(event.value, 6) for event in events] == [0.1, 0.1, 0.2, 0.2, 0.4, 0.4, 0.4]


def test_the_file_keeps_full_precision(tmp_path):
    folder, value = RunFolder(tmp_path), 1 / 3
    log(folder, 0, [1], value)
    assert read_lines(folder.metrics) == [{"step": 1, "loss": value}]


def test_a_life_that_lost_the_folder_appends_no_point(tmp_path):
    folder = RunFolder(tmp_path)
    first, second = Ownership(folder.owner), Ownership(folder.owner)
    first.claim({"life": 1})
    file, *_ = make_loggers(folder, 0, first.require)
    file.log_metrics({"loss": 0.5}, 1)
    second.claim({"life": 2})
    with pytest.raises(LostOwnership):
        file.log_metrics({"loss": 0.5}, 2)
    assert [point["step"] for point in read_lines(folder.metrics)] == [1]


def test_points_are_logged_at_multiples_of_the_run_s_steps(tmp_path, capsys):
    folder, module, clock = RunFolder(tmp_path), learner(), Clock()
    module.step = 3
    fit(module, 6, Scalars(4, clock), clock, loggers=make_loggers(folder, 3))
    points = read_lines(folder.metrics)
    assert [point["step"] for point in points] == [4, 8]
    last = points[-1]
    assert last["train/loss"] == module.metrics["train_loss"] > 0
    assert (last["train/samples_seen"], last["train/epoch"]) == (8 * BATCH, 2.0)
    assert last["lr/decay"] == last["lr/no_decay"] == module.schedule.curve.at(7)
    assert 0 <= last["speed/data_wait_share"] <= 1
    assert 0.01 < last["memory/peak_resident_gb"] < main_memory.total_bytes() / 1e9
    assert capsys.readouterr().out.count("memory of a process: ") == 1
    assert last["data/bad_samples"] == 0


def test_what_is_not_finite_is_no_point_and_is_counted(tmp_path):
    folder, module, clock = RunFolder(tmp_path), learner(), Clock()
    module.metrics = {"train_loss": 0.5, "bad_steps": 3}
    with torch.no_grad():
        module.network.encoder.backbone.patch_embed.proj.weight.fill_(float("nan"))
    fit(module, 1, Scalars(1, clock), clock, loggers=make_loggers(folder, 0))
    (point,) = read_lines(folder.metrics)
    assert point["train/bad_steps"] == 3
    assert not {"train/loss", "train/grad_norm"} & point.keys()
    assert module.metrics["train_loss"] == 0.5  # the last one that was


def test_each_step_has_a_line_with_its_images(tmp_path):
    folder, module = RunFolder(tmp_path), learner()
    module.step = 7
    record = LifeRecord(folder, 2, Ownership(folder.owner), lambda: None)
    fit(module, 3, Ledger(record))
    assert read_lines(folder.ledger(0)) == [
        {"life": 2, "step": 7 + step, "rank": 0, "ids": batch["index"].tolist()}
        for step, batch in enumerate(batches(3))
    ]


def table(folder):
    with folder.table.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_table_goes_on_over_lives_with_one_header(tmp_path):
    folder = RunFolder(tmp_path)
    for start, steps, points in (
        (0, (1, 2, 3), {"loss": 0.5}),
        (2, (3, 4), {"loss": 1 / 3, "top1": 9.0}),  # saved after step 2
    ):
        keep_points(folder.metrics, start)
        loggers = make_loggers(folder, start, names=("csv",))
        for step in steps:
            for logger in loggers:
                logger.log_metrics(points, step)
        with folder.table.open("a") as file:
            file.write("5,0.")  # cut off
        keep = folder.table.read_text()
    assert keep.splitlines() == ["step,loss,top1", "1,0.5,", "2,0.5,"] + [
        f"{step},{1 / 3},9.0" for step in (3, 4)
    ] + ["5,0."]


def test_a_new_name_is_a_new_column(tmp_path):
    folder = RunFolder(tmp_path)
    loggers = make_loggers(folder, 0, names=("csv", "csv"))
    for step, points in enumerate(({"loss": 0.5}, {"top1": 7.0}, {"loss": 0.25}), start=1):
        for logger in loggers:
            logger.log_metrics(points, step)
    assert [(row["step"], row["loss"], row["top1"]) for row in table(folder)] == [
        ("1", "0.5", ""),
        ("2", "", "7.0"),
        ("3", "0.25", ""),
    ]
    assert not folder.train.exists()
