import sys
from dataclasses import replace

import pytest

from ssl_swin.errors import UserError
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.record.tracking import PACKAGES
from ssl_swin.runs import life
from ssl_swin.training.trackers import TRACKERS
from tests.training.launch import finetune_config


class Kept:
    """A tracker in this process that may lack a network."""

    runs: dict[str, list] = {}  # noqa: RUF012
    fails = True

    def prepare(self, folder):
        pass

    def drop(self):
        pass

    def open(self, _folder, sent, kind, _config):
        if Kept.fails:
            raise ConnectionError("no network")
        self.told = Kept.runs.setdefault(sent.id, [])
        self.told.append(kind)
        return "here"

    def log(self, _points, step):
        self.told.append(step)

    def end(self, status, found, step):
        self.told.append((status, found["final/top1"], step))


def test_a_finished_run_sends_what_was_found_and_later_what_a_network_held_up(
    tmp_path, tiny_shards, monkeypatch, capsys
):
    monkeypatch.setitem(TRACKERS, "mlflow", Kept)
    monkeypatch.setattr(life, "require_packages", lambda _: None)
    config = finetune_config(tmp_path / "run", tiny_shards([30, 20], mode="RGB"))
    training = replace(config.training, loggers=("csv", "mlflow"))
    optim = replace(config.optim, epochs=1, warmup_epochs=0)
    config = replace(config, training=training, optim=optim)
    assert life.run(config) == 0
    assert "mlflow lacks the last points of this run (no network)" in capsys.readouterr().out
    monkeypatch.setattr(Kept, "fails", False)
    for _ in range(2):  # the second time all is there
        assert life.run(config) == 0
    (told,) = Kept.runs.values()
    kind, *steps, (status, top1, step) = told
    assert (kind, status, step) == ("finetune", "finished", steps[-1])
    assert 0 <= top1 <= 100
    folder = RunFolder(tmp_path / "run")
    assert folder.table.is_file()
    assert not folder.train.exists()


@pytest.mark.parametrize("name", PACKAGES)
def test_a_missing_package_is_told_before_anything_starts(tmp_path, name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)  # as where it is not installed
    config = finetune_config(tmp_path / "run", tmp_path / "no-shards")
    config = replace(config, training=replace(config.training, loggers=(name,)))
    for dry_run in (True, False):
        with pytest.raises(UserError, match=f"{name}, which is not installed"):
            life.run(config, dry_run=dry_run)
    assert not (tmp_path / "run").exists()
