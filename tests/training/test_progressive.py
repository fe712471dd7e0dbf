import signal
from dataclasses import replace

import pytest
import torch

from ssl_swin.config.model import DecoderConfig, HeadConfig, MaskConfig, ProgressiveConfig
from ssl_swin.errors import UserError
from ssl_swin.models.encoder import build_encoder
from ssl_swin.models.simmim import SimMIM
from ssl_swin.models.swin import SwinEncoder
from ssl_swin.runs.build import build
from ssl_swin.training.progressive import resized, share_weights
from tests.training.launch import MODEL, finish, interrupt, pretrain_config, start, train
from tests.training.test_elastic import largest_difference, points
from tests.training.test_interruption import assert_equal, checkpoint

SMALLER = (ProgressiveConfig(1, 32), ProgressiveConfig(2, (32, 48)))  # then 64 px
CHANGES = (8, 16)  # steps, of 8 an epoch


def config(run_dir, shards, **training):
    config = pretrain_config(run_dir, shards, **training)
    optim = replace(config.optim, epochs=3)
    model = replace(MODEL, img_size=64, drop_path_rate=0.1)
    return replace(config, model=model, optim=optim, progressive=SMALLER)


def simmim(img_size, **sizes):
    sizes = {"window_size": 4, "embed_dim": 8, "depths": (1, 1), "num_heads": (1, 1)} | sizes
    encoder = SwinEncoder("swin_tiny_patch4_window7_224", img_size, 1, **sizes)
    return SimMIM(encoder, 8)


def test_networks_of_two_sizes_have_one_set_of_weights():
    large, small = simmim(64).double(), simmim((32, 64))
    share_weights(small, large)
    images = torch.randn(2, 1, 32, 64, dtype=torch.float64)
    small(images, small.random_mask(torch.arange(2))).backward()
    for name, parameter in large.named_parameters():
        assert small.get_parameter(name) is parameter
        assert parameter.grad is not None
    with pytest.raises(UserError, match=r"of which every stage has the same windows"):
        share_weights(simmim(16), large)  # whose second stage is smaller than a window


def test_windows_are_the_same_also_where_no_weight_tells_of_them():
    name, sizes = "swinv2_tiny_window8_256", {"window_size": 4, "embed_dim": 8}
    sizes |= {"depths": (1, 1), "num_heads": (1, 1)}
    large, taken, small = (SimMIM(build_encoder(name, px, 1, **sizes), 8) for px in (64, 32, 16))
    share_weights(taken, large)
    with pytest.raises(UserError, match=r"window_size is \(2, 2\) there, and \(4, 4\)"):
        share_weights(small, large)


def test_images_are_resized_each_by_itself():
    images = torch.randn(3, 2, 8, 8)
    assert resized(images, (8, 8)) is images
    small = resized(images, (4, 6))
    assert small.shape == (3, 2, 4, 6)
    assert torch.equal(small[1:2], resized(images[1:2], (4, 6)))
    assert torch.equal(
        resized(torch.full((1, 1, 8, 8), 2.0), (4, 4)), torch.full((1, 1, 4, 4), 2.0)
    )


def test_a_step_has_the_images_of_its_size_and_their_masks(tmp_path, shards):
    given = config(tmp_path, shards, precision="fp64")
    module = build(replace(given, model=replace(given.model, drop_path_rate=0.0))).module
    assert [one.until_step for one in module.sizes] == [*CHANGES]
    names, index = {*module.state_dict()}, torch.arange(24)
    image = torch.randint(256, (24, 1, 64, 64), dtype=torch.uint8)
    batch = {"image": image, "index": index, "epoch": torch.zeros(24, dtype=torch.int64)}
    for step, size in ((0, (32, 32)), (7, (32, 32)), (8, (32, 48)), (16, (64, 64))):
        module.step = step
        plain = simmim(size, embed_dim=16, depths=(1, 2), num_heads=(1, 2)).double()
        plain.load_state_dict(module.network.state_dict())
        with torch.no_grad():
            wanted = plain(resized(module.normalise(image), size), plain.random_mask(index))
            assert float(module.loss(batch)) == pytest.approx(float(wanted), rel=1e-9)
    assert {*module.state_dict()} == names
    module.train_all()
    assert module.sizes == ()


# before a change, at it, and after it; the others where there is time
STOPS = [pytest.param(5, marks=pytest.mark.slow), 8, pytest.param(18, marks=pytest.mark.slow)]


@pytest.fixture(scope="module")
def straight(shards, tmp_path_factory):
    return train(config(tmp_path_factory.mktemp("straight") / "run", shards))


@pytest.mark.parametrize("step", STOPS)
def test_killed_it_ends_bit_equal(step, straight, shards, tmp_path):
    killed = config(tmp_path / "run", shards)
    assert interrupt(killed, step, signal.SIGKILL) == {-signal.SIGKILL}
    assert finish(start(killed)) == {0}
    before, after = checkpoint(straight), checkpoint(tmp_path / "run")
    for part in ("model", "optimizer", "step", "samples_seen", "metrics"):
        assert_equal(before[part], after[part], part)


def test_the_size_is_a_curve(straight):
    sizes = points(straight, "train/img_size")
    assert [sizes[step] ** 2 for step in (8, 9, 16, 17, 24)] == pytest.approx(
        [32 * 32, 32 * 48, 32 * 48, 64 * 64, 64 * 64]
    )


def test_small_images_take_as_much_as_they_have_pixels(tmp_path, shards):
    module = build(config(tmp_path, shards)).module
    assert module.work(CHANGES[0]) == 8 * 0.25
    assert module.work(24) == 8 * (0.25 + 0.375 + 1)


def visible_alone(run_dir, shards, **training):
    """Heads at both stages, by decoders that know the places of each size."""
    heads = (
        HeadConfig(1, "hog", "l2", cell_size=4),
        HeadConfig(2, "pixels", at="start"),
        HeadConfig(2),
    )
    decoder = DecoderConfig("transformer", 8, 1, 2, "sin-cos")
    given = replace(config(run_dir, shards, **training), heads=heads, decoder=decoder)
    return replace(given, mask=MaskConfig("random", 8, token="none"), progressive=SMALLER[:1])


@pytest.mark.slow
def test_with_heads_and_visible_tokens_alone_it_ends_bit_equal_too(shards, tmp_path):
    before = checkpoint(train(visible_alone(tmp_path / "straight", shards)))
    killed = visible_alone(tmp_path / "killed", shards)
    assert interrupt(killed, CHANGES[0], signal.SIGKILL) == {-signal.SIGKILL}
    assert finish(start(killed)) == {0}
    after = checkpoint(tmp_path / "killed")
    for part in ("model", "optimizer", "step", "samples_seen", "metrics"):
        assert_equal(before[part], after[part], part)


def test_a_run_goes_on_with_no_other_sizes(shards, tmp_path):
    given = config(tmp_path, shards)
    assert interrupt(given, 4, signal.SIGTERM) == {75}
    with pytest.raises(UserError, match="holds a run with progressive="):
        build(replace(given, progressive=SMALLER[:1]))


@pytest.mark.slow
def test_on_other_numbers_of_processes_the_curve_is_the_same(shards, tmp_path):
    curves = []
    for devices, micro in ((1, 24), (2, 5), (3, 24)):
        layout = {"devices": devices, "micro_batch_size": micro, "precision": "fp64"}
        given = config(tmp_path / str(devices), shards, **layout)
        run = train(replace(given, model=replace(given.model, drop_path_rate=0.0)))
        curves.append([points(run, one) for one in ("train/loss", "heldout/heldout_loss")])
    for curve in curves[1:]:
        for one, other in zip(curve, curves[0], strict=True):
            assert largest_difference(one, other) < 1e-9


def test_epochs_and_what_does_not_go_with_them_are_refused(tmp_path, shards):
    given = config(tmp_path, shards)
    for sizes in (
        (ProgressiveConfig(3, 32),),
        (ProgressiveConfig(2, 32), ProgressiveConfig(1, 48)),
    ):
        with pytest.raises(UserError, match=r"earlier than optim\.epochs=3"):
            replace(given, progressive=sizes)
    with pytest.raises(UserError, match=r"training\.strategy=fsdp beside progressive"):
        replace(given, training=replace(given.training, strategy="fsdp"))
    with pytest.raises(UserError, match=r"progressive\.until_epoch=0 must be greater than 0"):
        ProgressiveConfig(0, 32)
