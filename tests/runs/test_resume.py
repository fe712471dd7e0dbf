import dataclasses
import json
from functools import partial
from pathlib import Path

import pytest
import yaml

from ssl_swin.config.data import DataConfig, LabelledDataConfig
from ssl_swin.config.model import HeadConfig
from ssl_swin.config.optim import OptimConfig
from ssl_swin.config.run import FinetuneConfig, PretrainConfig
from ssl_swin.config.settings import flatten
from ssl_swin.config.training import TrainingConfig
from ssl_swin.errors import UserError
from ssl_swin.record.lines import append_line
from ssl_swin.record.lives import last_step
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.runs.resume import find_start, prepare_folder
from ssl_swin.training.checkpoint_file import FORMAT, read_checkpoint, write_checkpoint

SHARDS = {"num_shards": 2, "num_samples": 9, "num_bytes": 100, "fingerprint": "abc"}


@pytest.fixture
def config(tmp_path):
    return PretrainConfig(str(tmp_path / "run"), DataConfig("shards"))


def finetune(run_dir):
    return FinetuneConfig(str(run_dir), LabelledDataConfig("shards"), num_classes=10)


@pytest.fixture
def folder(config):
    """A run folder with a checkpoint."""
    found = RunFolder(Path(config.run_dir))
    state = {"format": FORMAT, "kind": "pretrain", "config": flatten(config), "shards": SHARDS}
    write_checkpoint(found.last, state | {"step": 7})
    return found


def test_a_new_folder_starts_at_the_beginning_and_nothing_is_written(config):
    start = find_start(config, SHARDS, None)
    assert (start.life, start.state, start.changes) == (1, None, {})
    assert not start.folder.root.exists()


@pytest.mark.usefixtures("folder")
def test_the_same_run_goes_on_also_in_another_layout(config):
    assert find_start(config, SHARDS, None).state["step"] == 7
    moved = dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, shards="elsewhere", num_workers=0),
        training=TrainingConfig(devices=4, micro_batch_size=3, ledger=True),
    )
    assert find_start(moved, SHARDS, None).state["step"] == 7


@pytest.mark.usefixtures("folder")
def test_another_run_in_the_folder_is_refused_naming_the_first_difference(config):
    other = dataclasses.replace(config, seed=3, optim=OptimConfig(epochs=200))
    with pytest.raises(
        ValueError, match=r"holds a run with seed=0, this config says 3; .*--resume"
    ):
        find_start(other, SHARDS, None)
    with pytest.raises(ValueError, match="holds a pretrain run; give a finetune run another one"):
        find_start(finetune(config.run_dir), SHARDS, None)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("name", SHARDS)
def test_another_shard_set_is_refused_naming_what_changed(config, name):
    with pytest.raises(ValueError, match=f"shards changed: {name} was {SHARDS[name]}, is 5;"):
        find_start(config, SHARDS | {name: 5}, None)


def test_a_deliberate_change_starts_in_a_new_folder_and_is_written_down(config, folder, tmp_path):
    other = dataclasses.replace(config, run_dir=str(tmp_path / "new"), seed=3)
    shards = SHARDS | {"num_samples": 10}
    start = find_start(other, shards, folder.last)
    assert start.state["step"] == 7
    assert start.changes == {"seed": (0, 3), "shard set": (SHARDS, shards)}
    prepare_folder(start)
    append_line(start.folder.lives, {"life": 1})
    assert json.loads(start.folder.differences.read_text())["seed"] == [0, 3]
    # Started again before its first checkpoint, it begins there again; then it goes on by itself.
    again = find_start(other, shards, folder.last)
    assert (again.life, again.state["step"]) == (2, 7)
    state = {**again.state, "config": flatten(other), "shards": shards, "step": 9}
    write_checkpoint(again.folder.last, state)
    assert find_start(other, shards, folder.last).state["step"] == 9


@pytest.fixture
def newer(monkeypatch):
    """Let hflip be a setting that runs once did without: what they did was 0.25."""
    field = DataConfig.__dataclass_fields__["hflip"]
    monkeypatch.setattr(field, "metadata", {"before": 0.25})


@pytest.mark.usefixtures("newer")
@pytest.mark.parametrize("there", [True, False])
def test_a_run_older_than_a_setting_goes_on_as_it_began(config, folder, tmp_path, there):
    state = read_checkpoint(folder.last)
    del state["config"]["data.hflip"]
    write_checkpoint(folder.last, state)
    place = config.run_dir if there else str(tmp_path / "changed")
    asked = dataclasses.replace(config, run_dir=place)
    source = None if there else folder.last
    start = find_start(asked, SHARDS, source)
    (line,) = start.told()
    assert line.startswith(
        "data.hflip=0.25, as when this run began (its last checkpoint is of ssl_swin 0.1)"
    )
    assert (start.config.data.hflip, start.changes) == (0.25, {})
    prepare_folder(start)
    assert yaml.safe_load(start.folder.config.read_text())["data"]["hflip"] == 0.25
    if there:
        with pytest.raises(ValueError, match=r"with data.hflip=0.25, this config says 0.5"):
            find_start(asked, SHARDS, source, {"data.hflip"})
    else:
        changes = find_start(asked, SHARDS, source, {"data.hflip"}).changes
        assert changes == {"data.hflip": (0.25, 0.5)}


def test_a_run_of_the_other_kind_is_no_start(folder, tmp_path):
    other = finetune(tmp_path / "new")
    with pytest.raises(ValueError, match="is of a pretrain run; give one of a finetune run"):
        find_start(other, SHARDS, folder.last)


def test_the_config_is_kept_whole_and_as_plain_yaml(config):
    start = find_start(config, SHARDS, None)
    prepare_folder(start)
    text = start.folder.config.read_text()
    assert yaml.safe_load(text) == json.loads(json.dumps(dataclasses.asdict(config)))
    assert not {"&", "*", "!"} & set(text)  # no references, no types of Python
    assert list(yaml.safe_load(text)) == [field.name for field in dataclasses.fields(config)]
    assert json.loads(start.folder.shards.read_text()) == SHARDS
    assert not start.folder.differences.exists()


def test_what_a_killed_life_left_unfinished_is_swept_up(config, folder):
    left = [folder.root / ".config.yaml.1a.partial", folder.last.with_name(".last.ckpt.2b.partial")]
    for path in left:
        path.write_text("half")
    prepare_folder(find_start(config, SHARDS, None))
    assert not any(path.exists() for path in left)
    assert folder.last.exists()


def test_a_setting_of_a_newer_version_is_refused_naming_both(config, folder):
    state = read_checkpoint(folder.last)
    write_checkpoint(
        folder.last, state | {"config": {**state["config"], "new": 1}, "version": "9.1"}
    )
    with pytest.raises(
        ValueError, match=r"with new=1, which ssl_swin \S+ has not; it is of .* 9.1;"
    ):
        find_start(config, SHARDS, None)


def test_without_weights_it_finds_the_same_start(config, folder):
    read = partial(read_checkpoint, facts_only=True)
    assert find_start(config, SHARDS, None, read=read) == find_start(config, SHARDS, None)
    assert read(folder.last) == read_checkpoint(folder.last)


def test_a_damaged_checkpoint_never_becomes_the_previous_one(config, folder):
    folder.last.rename(folder.previous)
    folder.last.write_text("no checkpoint")
    start = find_start(config, SHARDS, None)
    assert "going on from" in start.told()[0]
    assert (start.passed_over, start.state["step"]) == (True, 7)
    prepare_folder(start)
    assert folder.damaged.read_text() == "no checkpoint"
    assert read_checkpoint(folder.last)["step"] == 7
    assert not folder.previous.exists()
    assert last_step(folder) == 7


def spread(config, devices, num_nodes, **data):
    training = dataclasses.replace(config.training, devices=devices, num_nodes=num_nodes)
    return dataclasses.replace(
        config, data=dataclasses.replace(config.data, **data), training=training
    )


def lanes(start):
    return start.config.data.num_lanes


def test_a_run_that_begins_with_more_processes_than_usual_lanes_names_its_lanes(config):
    assert lanes(find_start(spread(config, 8, 8), SHARDS, None)) is None
    assert lanes(find_start(spread(config, 8, 16), SHARDS, None)) == 256
    assert lanes(find_start(spread(config, 8, 16, num_lanes=128), SHARDS, None)) == 128


def test_a_run_without_a_checkpoint_keeps_the_lanes_of_its_first_life(config):
    folder = RunFolder(Path(config.run_dir))
    for world_size in (128, 8, 256):
        append_line(folder.lives, {"life": 1, "world_size": world_size})
    assert lanes(find_start(spread(config, 8, 1), SHARDS, None)) == 256


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(("begun_with", "named"), [(64, None), (128, 128), (16, 16)])
def test_a_run_with_a_checkpoint_keeps_its_lanes(config, folder, tmp_path, begun_with, named):
    append_line(folder.lives, {"life": 1, "world_size": 512})  # says less than the checkpoint
    state = read_checkpoint(folder.last) | {"num_lanes": begun_with}
    stored = state["config"] | {"data.num_lanes": named}
    write_checkpoint(folder.last, state | {"config": stored})
    for asked in (config, spread(config, 8, 16)):
        start = find_start(asked, SHARDS, None)
        assert (lanes(start), start.changes) == (named, {})
        new = dataclasses.replace(asked, run_dir=str(tmp_path / "new"))
        start = find_start(new, SHARDS, folder.last)
        assert (lanes(start), start.changes) == (named, {})
    with pytest.raises(ValueError, match=r"data.num_lanes=.*this config says 32"):
        find_start(spread(config, 8, 1, num_lanes=32), SHARDS, None)
    larger = dataclasses.replace(config.training, global_batch_size=4096, devices=128)
    new = dataclasses.replace(config, run_dir=str(tmp_path / "new"), training=larger)
    assert lanes(find_start(new, SHARDS, folder.last)) == 256  # of another batch, chosen anew


def test_heads_of_a_checkpoint_stay_in_their_order(config, folder, tmp_path):
    pixels, patches = HeadConfig(2), HeadConfig(2, "normalised_pixels")
    for before, now, said in (
        ((pixels, patches), (patches, pixels), r"heads\[0\] was heads\[1\] in the checkpoint"),
        ((pixels, patches), (pixels, pixels), None),
        ((pixels,), (dataclasses.replace(pixels, weight=2.0),), None),
    ):
        stored = flatten(dataclasses.replace(config, heads=before))
        state = {"format": FORMAT, "kind": "pretrain", "config": stored, "shards": SHARDS}
        write_checkpoint(folder.last, state | {"step": 7})
        asked = dataclasses.replace(config, run_dir=str(tmp_path / "other"), heads=now)
        if said is None:
            assert find_start(asked, SHARDS, folder.last).config.heads == now
        else:
            with pytest.raises(UserError, match=said):
                find_start(asked, SHARDS, folder.last)
