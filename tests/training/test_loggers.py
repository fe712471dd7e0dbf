import time

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ssl_swin.record.lines import read_lines
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.training.loggers import make_loggers


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
    events = EventAccumulator(str(folder.tensorboard)).Reload().Scalars("loss")
    assert [event.step for event in events] == [1, 2, 3, 4, 5]
    assert [round(event.value, 6) for event in events] == [0.1, 0.1, 0.2, 0.2, 0.2]


def test_the_file_keeps_full_precision(tmp_path):
    folder, value = RunFolder(tmp_path), 1 / 3
    log(folder, 0, [1], value)
    assert read_lines(folder.metrics) == [{"step": 1, "loss": value}]
