import json
import shutil
from dataclasses import replace

import pytest

from ssl_swin.cluster.checks import (
    Start,
    check_disk,
    check_folder,
    check_network,
    check_time,
    describe_feeding,
    describe_machine,
    describe_world,
    estimate_hours,
    find_start,
)
from ssl_swin.config.data import DataConfig, LabelledDataConfig
from ssl_swin.config.model import ModelConfig
from ssl_swin.config.run import FinetuneConfig, PretrainConfig
from ssl_swin.config.training import TrainingConfig
from ssl_swin.data.shards.indexing import index_shards
from ssl_swin.errors import UserError
from ssl_swin.machine import LoaderNeeds
from ssl_swin.record.lines import append_line
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.runs.sizes import Sizes
from tests.runs.test_channels import BANDS, of, write
from tests.training.launch import pretrain_config

SMALL = ModelConfig(img_size=32, window_size=4, embed_dim=8, depths=(1, 1), num_heads=(1, 2))


def sizes(*shares):
    return Sizes(1000, 8, shares, 1, sum(shares), 10, 100)


@pytest.mark.parametrize(
    ("fewest", "shares", "said"),
    [
        (2, (4, 4), "2 processes, 8 lanes: with 2, 4 images each of a global batch of 8"),
        (1, (2, 2, 4), "1 to 3 processes, 8 lanes: with 3, 2 or 4 images each of a global batch"),
    ],
)
def test_the_world_is_described(fewest, shares, said):
    found = describe_world(sizes(*shares), fewest)
    assert found.startswith(said)
    assert ("uneven" in found) == (len(set(shares)) > 1)


@pytest.mark.parametrize(
    ("time", "warning", "said"),
    [("2", 90, "a life would hardly train"), ("1:00", 0, "1 or more"), ("soon", 9, "as SLURM")],
)
def test_a_life_too_short_for_its_warning_is_refused(time, warning, said):
    with pytest.raises(UserError, match=said):
        check_time(time, warning)


def test_a_life_is_what_is_before_the_warning():
    assert check_time("1:00:00", 120) == 3480


def test_hours_are_estimated_at_the_stated_speed_or_the_last_one(tmp_path):
    folder = RunFolder(tmp_path)
    assert "give --images-per-s" in estimate_hours(sizes(36, 36), folder, None, 3600)
    for step, speed in ((10, 1.0), (20, 2.0)):
        append_line(folder.metrics, {"step": step, "speed/images_per_s": speed})
    append_line(folder.metrics, {"step": 20, "heldout/heldout_loss": 0.4})
    append_line(folder.checkpoints, {"step": 50})
    assert estimate_hours(sizes(36, 36), folder, None, 3600) == (
        "100 steps, 50 of them to do, about 0.5 h at 2 images/s (of the run so far): "
        "1 life of the time limit or a little more"
    )
    assert "about 1.0 h at 1 images/s (stated): 2 lives" in estimate_hours(
        sizes(36, 36), folder, 1.0, 2000
    )


def pretrain(folder, **training):
    return PretrainConfig(str(folder), DataConfig("x"), training=TrainingConfig(**training))


def test_the_disk_must_hold_what_is_kept_and_one_more(tmp_path):
    size = 10**6
    assert check_disk(pretrain(tmp_path / "run"), sizes(8), size).startswith(
        "3 checkpoints of 1.0 MB (counted from the network)"
    )
    kept = pretrain(tmp_path / "run", keep_every_epochs=10)
    assert check_disk(kept, sizes(8), size).startswith("13 checkpoints")
    tuned = FinetuneConfig(str(tmp_path / "run"), LabelledDataConfig("x"), num_classes=2)
    assert check_disk(tuned, sizes(8), size).startswith("4 checkpoints")
    free = shutil.disk_usage(tmp_path).free
    with pytest.raises(UserError, match="the disk is too small: 3 checkpoints"):
        check_disk(pretrain(tmp_path / "run"), sizes(8), free // 2)


def test_the_last_checkpoint_tells_the_size_of_the_next(tmp_path):
    folder = RunFolder(tmp_path)
    folder.last.parent.mkdir()
    folder.last.write_bytes(b"x" * 2000)
    append_line(folder.checkpoints, {"step": 50})  # after 5 epochs
    found = check_disk(pretrain(tmp_path, keep_every_epochs=1), sizes(8), 1)
    assert found.startswith("97 checkpoints of 2.0 kB (the size of the last one)")


def test_what_a_node_needs_is_told_and_what_is_short_here():
    assert (
        describe_machine(LoaderNeeds(2, 0, 10**6)) == "each node: 0 B of /dev/shm, 384 open files"
    )
    assert describe_machine(LoaderNeeds(2, 4, 10**15)).startswith(
        "each node: 20000.0 TB of /dev/shm, 432 open files; here /dev/shm has "
    )


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written to"):
        check_folder(RunFolder(tmp_path / "file" / "run"), "run_dir")


def test_a_held_out_set_that_lacks_a_channel_is_refused(tmp_path):
    train, heldout = (write(tmp_path / name, True, BANDS) for name in ("train", "heldout"))
    index_shards([train / "a.tar", heldout / "a.tar"])
    config = of(pretrain_config(tmp_path / "run", train), heldout)
    assert find_start(config, None).is_new
    (heldout / "channels.json").write_text(json.dumps(["x", *BANDS[1:]]))
    with pytest.raises(UserError, match=f"asks for '{BANDS[0]}'"):
        find_start(config, None)


def test_numbers_of_mixed_images_are_refused():
    data = LabelledDataConfig("shards")
    config = FinetuneConfig("run", data, 1, task="regression", model=SMALL)
    with pytest.raises(UserError, match="a mixed image has no number of its own"):
        check_network(Start(config, None, True, []), None)
    optim = replace(config.optim, mixup=0.0, cutmix=0.0, label_smoothing=0.0)
    assert check_network(Start(replace(config, optim=optim), None, True, []), None)[1] == []


def test_what_the_loaders_must_bring_is_told_with_the_speed_or_that_the_run_waited(tmp_path):
    config, folder = pretrain(tmp_path), RunFolder(tmp_path)
    config = replace(config, data=replace(config.data, num_workers=8))
    (told,) = describe_feeding(config, folder, 4000.0, (2, 4))
    assert told.startswith(
        "each of 2 nodes must read 2,000 images/s, each of its 4 x 8 loader processes 62; ssl-swin "
        "doctor --data ... --processes 4 --images-per-s 2000 says"
    )
    assert describe_feeding(config, folder, None, (2, 4)) == []
    for share, said in ((0.0, False), (0.4, True), (0.2, False)):
        append_line(folder.metrics, {"step": 10, "speed/data_wait_share": share})
        append_line(folder.metrics, {"step": 10, "heldout/heldout_loss": 0.4})
        found = describe_feeding(config, folder, None, (2, 4))
        assert bool(found) == said
        assert not said or "waited for data 40% of its time" in found[0]
