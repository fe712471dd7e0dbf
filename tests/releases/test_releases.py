import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from ssl_swin.__main__ import run
from ssl_swin.command_line import read_config
from ssl_swin.pretrained.classifier import open_classifier
from ssl_swin.record.lines import read_lines
from tests.releases.going_on import encode, here, remaining, weights
from tests.training import launch

FOLDER = Path(__file__).parent
RUNS = sorted(path.parent for path in FOLDER.glob("*/*/config.yaml"))
STOPPED = [path for path in RUNS if not (path / "summary.json").exists()]
FINISHED = [path for path in RUNS if (path / "summary.json").exists()]


def name_of(path):
    return str(path.relative_to(FOLDER))


def expected(run_folder):
    """What a run must come to, by name."""
    prefix = f"{run_folder.name}/"
    found = safetensors.torch.load_file(run_folder.parent / "expected.safetensors")
    return {
        name.removeprefix(prefix): value for name, value in found.items() if name.startswith(prefix)
    }


def require_same(found, known, release):
    """Equal on the machine that made the release, within 1e-9 elsewhere."""
    made_on = json.loads((release / "expected.json").read_text())["made_on"]
    torch.testing.assert_close(found, known, rtol=0, atol=0 if made_on == here() else 1e-9)


@pytest.mark.parametrize("kept", STOPPED, ids=name_of)
def test_a_run_of_an_earlier_release_goes_on_to_the_weights_it_would_have_had(kept, tmp_path):
    shutil.copytree(kept, tmp_path / "run")
    kind = kept.name.partition("-")[0]
    config, _ = read_config(kind, [str(tmp_path / "run" / "config.yaml")])
    config = replace(config, run_dir=str(tmp_path / "run"))
    known = expected(kept)
    left = remaining(config)
    for name, value in left.items():
        np.testing.assert_array_equal(value, known.pop(name).numpy(), err_msg=name)

    launch.train(config)

    began = read_lines(kept / "ends.jsonl")[-1]["step"]
    ranks = [read_lines(path) for path in sorted((tmp_path / "run" / "ledger").iterdir())]
    for place, step_ids in enumerate(left["ids"].tolist()):
        lines = [line for lines in ranks for line in lines if line["step"] == began + place]
        assert [i for line in lines for i in line["ids"]] == step_ids
    if kind == "finetune":
        card = open_classifier(tmp_path / "run").card
        assert card.classes == tuple(json.loads((tmp_path / "run" / "classes.json").read_text()))
    known = {name.removeprefix("weights/"): value for name, value in known.items()}
    require_same(weights(tmp_path / "run"), known, kept.parent)


@pytest.mark.parametrize("kept", FINISHED, ids=name_of)
def test_a_finished_run_of_an_earlier_release_is_finished_and_its_encoder_is_what_it_was(
    kept, tmp_path, capsys
):
    shutil.copytree(kept, tmp_path / "run")
    config = str(tmp_path / "run" / "config.yaml")
    assert run(["pretrain", config, f"--run_dir={tmp_path / 'run'}"]) == 0
    assert "is finished" in capsys.readouterr().out
    # Since 0.3 ours computes what timm's did; weights are the same bits.
    features = expected(kept)["features"]
    torch.testing.assert_close(encode(tmp_path / "run"), features, rtol=0, atol=1e-9)
    assert run(["report", str(tmp_path)]) == 0


def test_every_release_has_its_folders_and_they_stay_small():
    releases = {path.parent for path in RUNS}
    assert FOLDER / "0.1" in releases
    for release in releases:
        assert {path.name for path in RUNS if path.parent == release} == {
            "pretrain",
            "pretrain-2-processes",
            "finetune",
            "finished",
        }
        assert sum(path.stat().st_size for path in release.rglob("*")) < 3e6
