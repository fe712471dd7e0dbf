from dataclasses import replace

import pytest
import timm
import torch
from torch.nn import functional

from ssl_swin.config.model import TargetConfig
from ssl_swin.errors import UserError
from ssl_swin.models.encoder import build_encoder
from ssl_swin.pretrained.load import load_encoder, save_encoder
from ssl_swin.runs import life
from ssl_swin.runs.gpu_use import step_flops
from ssl_swin.runs.network import build_simmim
from ssl_swin.runs.sizes import count_checkpoint_bytes
from ssl_swin.runs.teacher import open_teacher, same_teacher
from tests.training.launch import RGB, pretrain_config

SWIN = "swin_tiny_patch4_window7_224"


def ours(path, in_chans=1, mean=0.5, seed=0):
    torch.manual_seed(seed)
    sizes = {"window_size": 4, "embed_dim": 8, "depths": (1, 1), "num_heads": (1, 2)}
    encoder = build_encoder(SWIN, 32, in_chans, **sizes)
    save_encoder(encoder, path, (mean,) * in_chans, (0.25,) * in_chans)
    return str(path)


@pytest.fixture
def taught(tmp_path):
    """A config whose teacher is what is given."""

    def make(teacher, shards=None, **target):
        config = pretrain_config(tmp_path / "run", shards or tmp_path)
        return replace(config, target=TargetConfig("teacher", teacher=teacher, **target))

    return make


def of_colours(config):
    return replace(config, data=replace(config.data, **RGB))


def test_an_encoder_of_ours_teaches_what_it_finds_in_pixels(taught, tmp_path):
    config = taught(ours(tmp_path / "encoder.safetensors"))
    teacher, known = open_teacher(config), load_encoder(tmp_path / "encoder.safetensors")
    assert teacher.num_features == 16
    pixels = torch.rand(2, 1, 32, 32)
    mean, std = config.data.mean[0], config.data.std[0]
    found = build_simmim(config, teacher).target((pixels - mean) / std)
    with torch.no_grad():
        maps = known.maps((pixels - 0.5) / 0.25).permute(0, 2, 3, 1)
    wanted = functional.layer_norm(maps, (16,)).permute(0, 3, 1, 2)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "size", "channels"),
    [("test_vit", None, 64), ("test_vit", 64, 64), ("resnet10t", 64, 512)],
)
def test_a_model_of_timm_teaches_on_the_students_grid(taught, name, size, channels):
    config = of_colours(taught(f"random:timm:{name}", teacher_img_size=size))
    simmim = build_simmim(config)
    assert simmim.target(torch.randn(2, 3, 32, 32)).shape == (2, channels, 4, 4)
    assert simmim.target.num_chans(3) == channels


def test_a_stage_of_a_model_teaches_by_its_mean(taught):
    """GFM's teacher: what the last merging of timm's Swin makes of images of its own size."""
    wanted = {"teacher_stage": 4, "teacher_at": "start", "teacher_img_size": 64}
    config = of_colours(taught(f"random:timm:{SWIN}", **wanted))
    config = replace(config, target=replace(config.target, kind="teacher_pooled"), loss="cosine")
    simmim, images = build_simmim(config), torch.randn(2, 3, 32, 32)
    seen = []
    teacher = open_teacher(config)
    assert teacher.told.endswith("64 x 64 px, the start of stage 4")
    hook = teacher.network.body.layers[3].downsample.register_forward_hook(
        lambda _module, _given, output: seen.append(output)
    )
    with torch.no_grad():
        mean, std = (torch.tensor(RGB[one]).view(3, 1, 1) for one in ("mean", "std"))
        pixels = functional.interpolate(
            images * std + mean, (64, 64), mode="bicubic", antialias=True
        )
        theirs = timm.data.resolve_model_data_config(teacher.network.body)
        mean, std = (torch.tensor(theirs[one]).view(3, 1, 1) for one in ("mean", "std"))
        teacher.network((pixels - mean) / std)
    hook.remove()
    found = simmim.target(images)
    assert found.shape == (2, 768, 1, 1)
    torch.testing.assert_close(found[:, :, 0, 0], seen[0].mean((1, 2)), rtol=1e-3, atol=1e-4)


def test_weights_of_a_file_are_those_that_teach(taught, tmp_path):
    torch.manual_seed(1)
    model = timm.create_model("test_vit", num_classes=0, img_size=32).eval()
    torch.save(model.state_dict(), tmp_path / "vit.pth")
    teacher = open_teacher(of_colours(taught(f"timm:test_vit:{tmp_path / 'vit.pth'}")))
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        tokens = model.forward_features(images)[:, 1:]
        assert torch.equal(teacher.maps(images).flatten(2), tokens.transpose(1, 2))
    same = teacher.network.body.state_dict()
    assert all(torch.equal(value, same[name]) for name, value in model.state_dict().items())


def test_the_network_that_learns_begins_as_without(taught, tmp_path):
    found = []
    for target in (taught(ours(tmp_path / "encoder.safetensors")), None):
        config = taught(None) if target is None else target
        config = replace(config, target=TargetConfig()) if target is None else config
        torch.manual_seed(3)
        found.append(build_simmim(config).encoder.state_dict())
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())


def test_it_is_counted_and_in_no_checkpoint(taught, tmp_path):
    config = taught(ours(tmp_path / "encoder.safetensors"))
    student = build_simmim(config)
    assert not any("teacher" in name or "body" in name for name in student.state_dict())
    size = sum(one.nbytes for one in student.state_dict().values())
    assert size < count_checkpoint_bytes(config) < 3.01 * size
    plain = replace(config, target=TargetConfig())
    assert step_flops(config) > step_flops(plain)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda taught, path: taught(ours(path, 3)), "takes images of 3 channels, RGB, and those"),
        (
            lambda taught, path: of_colours(taught(ours(path, 1))),
            "takes images of 1 channels, and those of this run have 3",
        ),
        (lambda taught, _: of_colours(taught("timm:test_vot")), "the nearest are test_vit"),
        (lambda taught, path: taught(str(path)), "no encoder weights at"),
        (
            lambda taught, path: taught(ours(path), teacher_stage=3),
            "give another target.teacher_stage, stage 3 of a network that has 2; give 1 to 2",
        ),
        (
            lambda taught, _: of_colours(
                taught("random:timm:test_vit", teacher_stage=2, teacher_at="start")
            ),
            "stage 2 of this network gives no map from before its blocks",
        ),
        (lambda taught, _: taught(None), "give target.teacher, such as timm:NAME"),
        (lambda taught, _: taught("random"), "give random:WHAT"),
        (
            lambda taught, _: of_colours(taught("random:timm:test_vit", teacher_img_size=30)),
            "does not take images of 30 x 30 pixels .* give target.teacher_img_size",
        ),
    ],
)
def test_a_teacher_that_is_not_for_these_images_is_refused(taught, tmp_path, make, told):
    with pytest.raises(UserError, match=told):
        build_simmim(make(taught, tmp_path / "encoder.safetensors"))


def test_images_of_two_sides_are_squeezed_only_when_asked(taught):
    config = of_colours(taught("random:timm:test_vit"))
    config = replace(config, model=replace(config.model, img_size=(32, 64)))
    with pytest.raises(UserError, match=r"give target\.teacher_img_size"):
        build_simmim(config)
    config = replace(config, target=replace(config.target, teacher_img_size=64))
    assert build_simmim(config).target(torch.randn(1, 3, 32, 64)).shape == (1, 64, 4, 8)


def test_numbers_that_are_no_colours_are_refused(taught, tmp_path):
    config = taught(ours(tmp_path / "encoder.safetensors"))
    data = replace(config.data, dtype="uint16")
    with pytest.raises(UserError, match="takes colours of 8 bits, and the images of this run are"):
        build_simmim(replace(config, data=data))


def test_a_run_that_has_not_ended_teaches_nothing(taught, trained):
    """Its weights will be others, and those that have learned of it could not go on."""
    _, folder = trained
    (folder / "encoder.safetensors").unlink()
    with pytest.raises(UserError, match=r"target\.teacher=.* has not ended.*; let it end, or give"):
        open_teacher(taught(str(folder)))


def test_weights_that_know_no_colours_see_them_as_the_student_does(taught, tmp_path):
    known, bare = tmp_path / "known.safetensors", tmp_path / "bare.pt"
    config = taught(ours(known))
    (mean,), (std,) = config.data.mean, config.data.std
    ours(known, mean=mean)
    torch.save(load_encoder(known).encoder.state_dict(), bare)
    teacher = open_teacher(taught(str(bare)))
    assert (teacher.scale, teacher.shift) == ((1.0,), (0.0,))
    assert std != 1.0


def test_a_run_goes_on_with_the_teacher_it_began_with(taught, tmp_path, tiny_shards, capsys):
    config = taught(ours(tmp_path / "encoder.safetensors"), tiny_shards([24]))
    optim = replace(config.optim, epochs=1, warmup_epochs=0)
    config = replace(config, optim=optim)
    assert life.run(config) == 0
    assert "teacher: " in capsys.readouterr().out
    state = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert state["teacher"] == open_teacher(config).fingerprint
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    moved = replace(config.target, teacher=ours(elsewhere / "encoder.safetensors"))
    assert life.run(replace(config, target=moved)) == 0
    ours(tmp_path / "encoder.safetensors", seed=1)
    with pytest.raises(UserError, match="the run began with another teacher"):
        life.run(config)
    assert same_teacher(config, {}) is not None
