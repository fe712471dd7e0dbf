"""What a run must have in its folder at the end, whatever happened to it on the way."""

import json
from itertools import chain
from pathlib import Path

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator, ScalarEvent

from ssl_swin.record.lines import read_lines
from tests.slurm.user import STEPS, SlurmRun


def assert_whole(run: Path, straight: Path) -> None:
    """The run is finished, and is what it would have been if nothing had ever stopped it."""
    num_steps = read_json(straight / "summary.json")["step"]
    assert read_json(run / "summary.json")["step"] == num_steps
    mine, theirs = losses(run), losses(straight)
    assert mine.keys() == theirs.keys()
    assert max(abs(mine[step] - theirs[step]) for step in mine) < 1e-9
    assert_ledger(run, straight)
    assert not list(run.rglob("*.partial"))
    drawn = [point.step for point in drawn_losses(run)]
    assert drawn == sorted(set(drawn))  # one curve, with no point twice
    assert drawn == [point.step for point in drawn_losses(straight)]
    if {line["world_size"] for line in read_lines(run / "lives.jsonl")} == {2}:
        found, expected = weights(run), weights(straight)
        assert all(torch.equal(found[name], value) for name, value in expected.items())


def assert_ledger(run: Path, straight: Path) -> None:
    """Every step used the images it uses without interruption, also where it was done again."""
    expected = {step: ids for (_, step), ids in images_used(straight).items()}
    done = images_used(run)
    world_sizes = {line["life"]: line["world_size"] for line in read_lines(run / "lives.jsonl")}
    whole = set()
    for (life, step), ids in done.items():
        assert ids.items() <= expected[step].items() or world_sizes[life] != 2
        together = sorted(chain(*ids.values()))
        if len(ids) == world_sizes[life]:  # else a rank was killed before it wrote its line
            assert together == sorted(chain(*expected[step].values()))
            whole.add(step)
    assert whole == expected.keys()


def images_used(run: Path) -> dict[tuple[int, int], dict[int, list[int]]]:
    """Return (life, step) -> rank -> images."""
    found: dict[tuple[int, int], dict[int, list[int]]] = {}
    for path in sorted((run / "ledger").glob("*.jsonl")):
        for line in read_lines(path):
            found.setdefault((line["life"], line["step"]), {})[line["rank"]] = line["ids"]
    return found


def assert_no_step_lost(run: SlurmRun, num_steps: int = STEPS) -> None:
    """Every step was done once, on both ranks."""
    assert run.steps(0) == run.steps(1) == list(range(num_steps))


def losses(run: Path) -> dict[int, float]:
    """Return step -> loss; each step stands once, also where it was done twice."""
    lines = [line for line in read_lines(run / "metrics.jsonl") if "train/loss" in line]
    found = {line["step"]: line["train/loss"] for line in lines}
    assert len(found) == len(lines)
    return found


def drawn_losses(run: Path) -> list[ScalarEvent]:
    events = EventAccumulator(str(run / "train"), size_guidance={"scalars": 0})
    return events.Reload().Scalars("loss")


def weights(run: Path) -> dict[str, torch.Tensor]:
    """Return the weights at the end of a run."""
    state = torch.load(run / "checkpoints/last.ckpt", map_location="cpu", weights_only=True)
    return state["model"]


def read_json_line(path: Path) -> dict:
    return read_lines(path)[-1]


def read_json(path: Path) -> dict:
    return json.loads(path.read_text())
