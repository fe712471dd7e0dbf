import socket
import sys

import pytest

from ssl_swin.errors import UserError
from ssl_swin.record.curves import keep_points
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.training import follower
from ssl_swin.training.loggers import make_loggers
from ssl_swin.training.trackers import called

pytestmark = pytest.mark.filterwarnings("ignore")  # of these packages


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name in ("WANDB_API_KEY", "WANDB_PROJECT", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(follower, "HURRY_S", 60.0)  # on a busy machine they begin slowly
    folder = RunFolder(tmp_path / "demo" / "run")
    folder.root.mkdir(parents=True)
    folder.config.write_text("seed: 3\nmodel: {name: swin}\n")
    yield folder
    if "wandb" in sys.modules:
        sys.modules["wandb"].teardown()  # it reads the environment once


def live(folder, tracker, start, steps, status):
    """One life of a run; it returns what happened at its end."""
    keep_points(folder.metrics, start)
    loggers = make_loggers(folder, start, names=(tracker,), kind="pretrain")
    for step in steps:
        for logger in loggers:
            logger.log_metrics({"train/loss": 1 / step}, step)
    loggers[-1].end(status, {"final/top1": 9.0} if status == "finished" else {}, steps[-1])
    return loggers[-1]


def test_a_run_is_called_by_its_folder_and_the_one_around(folder):
    assert called(folder) == "demo/run"


def test_mlflow_has_one_run_with_each_point_once(folder):
    live(folder, "mlflow", 0, [1, 2, 3, 4], "stopped")
    client = sys.modules["mlflow"].MlflowClient((folder.root / "mlruns").as_uri())
    place = client.get_experiment_by_name("ssl-swin").experiment_id
    (run,) = client.search_runs([place])
    assert run.info.status == "SCHEDULED"
    assert live(folder, "mlflow", 2, [3, 4, 5], "finished").is_whole  # saved after step 2
    (run,) = client.search_runs([place])
    assert (run.info.status, run.info.run_name) == ("FINISHED", "demo/run")
    points = client.get_metric_history(run.info.run_id, "train/loss")
    assert [point.step for point in points] == [1, 2, 3, 4, 5]
    assert run.data.metrics["final/top1"] == 9.0
    params = run.data.params
    assert (params["kind"], params["seed"], params["model/name"]) == ("pretrain", "3", "swin")
    assert not (folder.root.parent.parent / "home").exists()  # nothing outside the run folder


def test_mlflow_that_nobody_serves_ends_nothing(folder, monkeypatch, capsys):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # nobody listens there
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{unused.getsockname()[1]}")
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        live(folder, "mlflow", 0, [1], "stopped")
    told = capsys.readouterr().out
    assert told.count("warning: mlflow lacks the last points") == 1
    assert not (folder.root / "mlruns").exists()


def test_wandb_offline_has_one_id_and_lies_in_the_run_folder(folder, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    for start, steps, status in ((0, [1, 2], "stopped"), (1, [2, 3], "finished")):
        assert live(folder, "wandb", start, steps, status).is_whole == (status == "finished")
    (first, second) = sorted((folder.root / "wandb").glob("offline-run-*/run-*.wandb"))
    assert first.name == second.name  # run-ID.wandb
    assert not (folder.root.parent.parent / "home" / ".config").exists()


def test_wandb_without_a_key_is_refused_and_nobody_is_asked(folder, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "online")
    with pytest.raises(UserError, match="which has no key here: wandb login, or set WANDB_API_KEY"):
        make_loggers(folder, 0, names=("wandb",))
