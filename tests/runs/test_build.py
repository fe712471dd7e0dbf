import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ssl_swin.cluster.checks import find_start
from ssl_swin.config.data import DataConfig, LabelledDataConfig
from ssl_swin.config.model import MaskConfig, ModelConfig, TargetConfig
from ssl_swin.config.optim import FinetuneOptimConfig, OptimConfig
from ssl_swin.config.run import FinetuneConfig, PretrainConfig
from ssl_swin.config.training import TrainingConfig
from ssl_swin.data.order.lanes import Share
from ssl_swin.data.pixels.decode import Reading
from ssl_swin.errors import UserError
from ssl_swin.models.masking import MASKS
from ssl_swin.pretrained.open import find_weights
from ssl_swin.pretrained.timm import to_timm
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.runs import life
from ssl_swin.runs.build import build
from ssl_swin.runs.describe import describe
from tests.data.pixels.pictures import encoded
from tests.data.shards.tars import image_bytes, write_tar

GREY = {"mean": (0.5,), "std": (0.5,), "num_workers": 0}
MODEL = ModelConfig(
    "swin_tiny_patch4_window7_224", 32, 4, 4, embed_dim=16, depths=(1, 1), num_heads=(1, 2)
)
TRAINING = TrainingConfig(global_batch_size=8, micro_batch_size=3)


@pytest.fixture
def pretrain(tiny_shards, tmp_path):
    return PretrainConfig(
        str(tmp_path / "run"),
        DataConfig(str(tiny_shards([9, 10])), **GREY),
        model=MODEL,
        mask=MaskConfig(mask_patch_size=8),
        optim=OptimConfig(epochs=5, warmup_epochs=1, base_lr=0.1),
        training=TRAINING,
    )


@pytest.fixture
def finetune(tiny_shards, tmp_path):
    return FinetuneConfig(
        str(tmp_path / "run"),
        LabelledDataConfig(str(tiny_shards([40])), rand_augment="", **GREY),
        num_classes=10,
        model=MODEL,
        optim=FinetuneOptimConfig(epochs=5, warmup_epochs=1),
        training=TRAINING,
    )


def test_all_parts_of_a_run_agree_on_its_steps(pretrain):
    run = build(pretrain)
    schedule, sizes = run.module.schedule, run.sizes
    assert (sizes.steps_per_epoch, run.sizes.stop_step) == (2, 10)
    assert run.datamodule.steps == (0, 10)
    assert run.order.steps_per_epoch == schedule.steps_per_epoch == 2
    assert schedule.num_micro_batches == sizes.num_micro_batches == 3
    assert schedule.curve.total_steps == 10
    assert schedule.curve.warmup_steps == 2
    assert schedule.curve.base_lr == pytest.approx(0.1 * 8 / 512)


def test_nothing_is_written_before_training_begins(pretrain):
    assert not build(pretrain).start.folder.root.exists()


def test_the_seed_decides_the_weights_and_nothing_else_does(pretrain):
    first, again = build(pretrain), build(pretrain)
    other = build(replace(pretrain, seed=1))
    weights = [run.module.network.encoder.mask_token for run in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_masks_and_targets_are_those_that_the_config_names(pretrain, monkeypatch):
    def first(index, _epoch, _seed, grid, num_hidden):
        mask = torch.zeros(len(index), grid[0] * grid[1], dtype=torch.bool)
        mask[:, :num_hidden] = True
        return mask.view(-1, *grid)

    monkeypatch.setitem(MASKS, "first", first)
    mask, target = MaskConfig("first", 8, 0.5), TargetConfig("normalised_pixels", 5)
    module = build(replace(pretrain, mask=mask, target=target)).module
    hidden = module.masking.draw(torch.arange(3), 0)
    assert hidden.tolist() == 3 * [[[True] * 4] * 2 + [[False] * 4] * 2]
    images = torch.rand(2, 1, 32, 32)
    assert not torch.equal(module.network.target(images), images)


def test_float64_is_of_the_whole_module(pretrain):
    module = build(replace(pretrain, training=replace(TRAINING, precision="fp64"))).module
    assert {one.dtype for one in module.parameters()} == {torch.float64}


def test_few_labels_are_drawn_balanced_over_the_classes(finetune):
    few = replace(finetune, data=replace(finetune.data, num_labels=20))
    order = build(few).order
    assert order.num_samples == 20
    assert np.bincount(order.places % 10).tolist() == [2] * 10  # sample i is of class i % 10


def test_an_encoder_is_handed_on_with_its_colours(finetune, two_step_run, capsys):
    _, folder = two_step_run
    model = replace(MODEL, window_size=8)
    data = replace(finetune.data, mean=(0.286,), std=(0.353,))
    given = replace(finetune, model=model, encoder=str(folder), data=data)
    module = build(given).module
    state = find_weights(folder).state
    assert torch.equal(module.network.encoder.state_dict()["mask_token"], state["mask_token"])
    assert f"{folder}: an encoder with its card" in capsys.readouterr().out
    other = build(replace(given, encoder=None)).module
    assert not torch.equal(other.network.encoder.mask_token, state["mask_token"])


def test_what_was_found_in_somebody_elses_weights_is_told(finetune, two_step_run, capsys, tmp_path):
    state = to_timm(find_weights(two_step_run[1]).state)
    wrapped = {"state_dict": {f"module.{name}": value for name, value in state.items()}}
    torch.save(wrapped, tmp_path / "theirs.ckpt")
    model = replace(MODEL, window_size=8)
    build(replace(finetune, model=model, encoder=str(tmp_path / "theirs.ckpt")))
    assert (
        f"theirs.ckpt: timm's Swin under 'state_dict.module.': {len(state)} tensors loaded\n"
        "  missing 1: mask_token, as it starts\n"
    ) in capsys.readouterr().out


def test_an_encoder_takes_other_channels_by_the_rule_that_is_named(finetune, two_step_run, capsys):
    grey = find_weights(two_step_run[1])
    assert grey.architecture["in_chans"] == 1
    data = replace(finetune.data, mean=(0.5,) * 3, std=(0.2,) * 3)
    model = replace(MODEL, window_size=8)
    given = replace(finetune, model=model, encoder=str(two_step_run[1]), data=data)
    module = build(replace(given, encoder_channels="average")).module
    name = "backbone.patch_embed.proj.weight"
    found = module.network.encoder.state_dict()[name]
    torch.testing.assert_close(found, (grey.state[name] / 3).expand(-1, 3, -1, -1))
    assert "\n  channels 1 -> 3, by average: each the old ones' sum" in capsys.readouterr().out


def test_labels_of_both_sets_are_looked_at_before_anything_is_built(finetune, tmp_path):
    members = [(f"{place}.cls", b"%d" % (place + 1)) for place in range(10)]
    images = [(f"{place}.png", image_bytes(place)) for place in range(10)]
    held_out = tmp_path / "heldout.tar"
    write_tar(held_out, sorted(members + images))
    said = r"^1 of 10 held-out images have no class .* 0 to 9: '9' of class 10 in \S+; the labels"
    for val_shards, message in ((None, None), (str(held_out), said)):
        one = replace(finetune, data=replace(finetune.data, val_shards=val_shards))
        for look in (build, partial(find_start, resume_from=None)):
            if message is None:
                look(one)
            else:
                with pytest.raises(UserError, match=message):
                    look(one)
    many = replace(finetune, num_classes=9)
    with pytest.raises(UserError, match="4 of 40 training images have no class"):
        build(many)


@pytest.mark.parametrize("kind", ["pretrain", "finetune"])
def test_the_rules_of_reading_are_those_of_the_config(kind, request):
    config, rules = request.getfixturevalue(kind), Reading("pil", 9, 5.0, 1023.0)
    given = {name: getattr(rules, name) for name in ("decoder", "max_pixels", "black", "white")}
    data = replace(config.data, val_shards=config.data.shards, **given)
    run = build(replace(config, data=data))
    for stream in (run.stream, run.datamodule.heldout.stream):
        assert stream.renderer.reading == rules


@pytest.mark.usefixtures("short_timing")
def test_a_dry_run_tells_of_numbers_that_white_does_not_fit(pretrain, tmp_path, capsys):
    image = Image.fromarray(np.arange(1024, dtype=np.uint16).reshape(32, 32))
    write_tar(tmp_path / "a.tar", [(f"{place}.png", encoded(image)) for place in range(8)])
    for white, told in ((None, 2), (1023.0, 0)):
        shards = {"shards": str(tmp_path / "a.tar"), "val_shards": str(tmp_path / "a.tar")}
        one = replace(pretrain, data=replace(pretrain.data, white=white, **shards))
        assert describe(build(one)) == 0
        assert capsys.readouterr().out.count("hold numbers from 0 to 1023, while 0") == told


def test_without_held_out_images_it_says_so(pretrain, capsys):
    assert build(pretrain).datamodule.heldout is None
    assert "no data.val_shards" in capsys.readouterr().out
    data = replace(pretrain.data, val_shards=pretrain.data.shards)
    heldout = build(replace(pretrain, data=data)).datamodule.heldout
    assert (len(heldout.stream), heldout.batch_size) == (19, 3)


def test_held_out_classes_in_another_order_are_mapped_by_name(finetune, tiny_shards, capsys):
    names = [f"class {number}" for number in range(10)]
    heldout = tiny_shards([10])
    for folder, order in ((finetune.data.shards, names), (heldout, names[::-1])):
        (Path(folder) / "classes.json").write_text(json.dumps(order))
    data = replace(finetune.data, val_shards=str(heldout))
    run = build(replace(finetune, data=data))
    assert f"another order in {heldout}: they are mapped by name" in capsys.readouterr().out
    share = Share(0, np.arange(10))
    found = run.datamodule.heldout.stream.__getitems__(share)["label"]
    assert found.tolist() == list(range(10))[::-1]
    assert run.stream.__getitems__(share)["label"].tolist() == list(range(10))


def test_a_run_goes_on_with_other_shards_by_the_names_of_its_classes(
    finetune, tiny_shards, tmp_path
):
    names = [f"class {number}" for number in range(10)]
    (Path(finetune.data.shards) / "classes.json").write_text(json.dumps(names))
    begun = replace(finetune, optim=replace(finetune.optim, epochs=1, warmup_epochs=0))
    assert life.run(begun) == 0
    folder = RunFolder(Path(begun.run_dir))
    assert json.loads(folder.classes.read_text()) == names
    other = tiny_shards([38])
    (other / "classes.json").write_text(json.dumps([*names[1:], names[0]]))
    data = replace(finetune.data, shards=str(other), val_shards=str(other))
    config = replace(begun, run_dir=str(tmp_path / "other"), data=data)
    run = build(config, folder.last)
    assert run.start.classes == tuple(names)
    for stream in (run.stream, run.datamodule.heldout.stream):
        assert stream.labels.renumber == (*range(1, 10), 0)
    (other / "classes.json").write_text(json.dumps([*names[1:], "owl"]))
    with pytest.raises(UserError, match=r"'class 0' only in .* and 'owl' only in"):
        build(config, folder.last)
    Path(finetune.data.shards, "classes.json").write_text(json.dumps(names[::-1]))
    with pytest.raises(UserError, match="beside the same shards; put back that of"):
        build(begun)
    Path(finetune.data.shards, "classes.json").unlink()
