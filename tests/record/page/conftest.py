"""A run folder as a life leaves it, of any kind and as far as a test wants."""

import json

import pytest
import yaml
from PIL import Image

from ssl_swin.record.lines import append_line
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.record.summary import Summary, write_summary


def point(step):
    learned = {"step": step, "train/loss": 1 / step, "lr/decay": 1e-3, "lr/no_decay": 1e-3}
    took = {"speed/images_per_s": 150.0 + step % 20, "memory/peak_resident_gb": 1.1}
    return learned | {"train/epoch": step / 10} | took


class Maker:
    """Makes run folders below one place."""

    def __init__(self, place):
        self.place = place

    def run(self, name="pretrain", steps=100, finished=True, seed=0, **settings):
        """A pretraining of one life on one CPU, that logged every 10 steps."""
        folder = RunFolder(self.place / name)
        append_line(folder.lives, {"life": 1, "step": 0, "world_size": 1, "job": None})
        config = {
            "run_dir": str(folder.root),
            "seed": seed,
            "mask": {"mask_ratio": 0.6},
            "optim": {"epochs": 10},
            "training": {"global_batch_size": 32, "accelerator": "cpu"},
        }
        folder.config.write_text(yaml.safe_dump(config | settings, sort_keys=False))
        with folder.metrics.open("w") as file:
            file.writelines(f"{json.dumps(point(step))}\n" for step in range(10, steps + 1, 10))
        if finished:
            end = {"life": 1, "step": steps, "reason": "finished", "status": 0, "seconds": 3600.0}
            append_line(folder.ends, end)
            summary = Summary("pretrain", name, seed, steps, steps / 10, 32 * steps, 1 / steps)
            write_summary(folder, summary)
        return folder

    def panel(self, folder, step, size=(64, 32)):
        """A picture of one colour in the place of a panel."""
        return self.picture(folder.panel(step), size)

    def picture(self, path, size=(64, 32)):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (40, 90, 160)).save(path)
        return path

    def evaluation(self, folder, name, **found):
        """What an evaluation leaves; give it whole."""
        path = folder.evaluation(name) / "summary.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found))
        return path


@pytest.fixture
def make(tmp_path):
    return Maker(tmp_path / "runs")
