import shutil
from dataclasses import replace

import pytest
import torch

import ssl_swin
from ssl_swin.errors import UserError
from ssl_swin.features.networks import TimmNetwork
from ssl_swin.features.subjects import _fingerprint, find_subject, find_subjects
from ssl_swin.record.run_folder import RunFolder
from tests.features.conftest import MEAN, STD

IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def vectors(subject, images=IMAGES):
    with torch.no_grad():
        return subject.network(images)


def test_a_run_folder_is_its_encoder_and_its_card(encoder_run):
    run = encoder_run(crop_pct=0.9, white=255.0, decoder="pil")
    found = find_subject(str(run))
    assert torch.equal(vectors(found), ssl_swin.load_encoder(run)(IMAGES))
    assert (found.name, found.img_size, found.mean, found.std) == (run.name, 32, MEAN, STD)
    assert (found.crop_pct, found.white, found.decoder) == (0.9, 255.0, "pil")
    assert not any(one.requires_grad for one in found.network.parameters())


def test_a_fingerprint_is_of_weights_and_images_not_of_places(encoder_run):
    run, same = encoder_run(), encoder_run()
    first = find_subject(str(run)).fingerprint
    assert find_subject(str(same)).fingerprint == first
    assert find_subject(str(RunFolder(same).encoder)).fingerprint == first
    others = [encoder_run(seed=1), encoder_run(crop_pct=0.9), encoder_run(decoder="pil")]
    assert len({first, *(find_subject(str(one)).fingerprint for one in others)}) == 4
    assert find_subject(str(run), img_size=64).fingerprint != first


def test_random_is_drawn_from_its_seed_and_has_the_architecture_of_the_first_other(encoder_run):
    run, state = encoder_run(seed=3), torch.get_rng_state()
    drawn, found = find_subjects(["random", str(run)])
    assert torch.equal(torch.get_rng_state(), state)
    assert (drawn.name, drawn.what, drawn.mean) == ("random", "random", MEAN)
    assert not torch.equal(vectors(drawn), vectors(found))
    named = find_subject(f"random:{run}")
    assert torch.equal(vectors(named), vectors(drawn))
    assert (named.name, named.fingerprint) == (f"random-{run.name}", drawn.fingerprint)
    assert find_subject(f"random:{run}", seed=1).fingerprint != drawn.fingerprint


def test_a_model_of_timm_has_its_own_images(vit):
    found = find_subject(f"timm:test_vit:{vit[1]}", img_size=64)
    assert (found.name, found.img_size, found.crop_pct) == ("test_vit", 64, 0.95)
    assert str(vit[1]) in found.told
    drawn = find_subject("random:timm:test_vit")
    assert (drawn.img_size, drawn.mean) == (160, (0.5, 0.5, 0.5))
    assert drawn.fingerprint == find_subject("random", like="timm:test_vit").fingerprint


def test_a_run_that_has_not_ended_is_its_last_checkpoint(trained):
    _, run = trained
    ended = find_subject(str(run))
    RunFolder(run).encoder.unlink()
    found = find_subject(str(run))
    images = torch.randn(2, len(found.mean), found.img_size, found.img_size)
    assert torch.equal(vectors(found, images), vectors(ended, images))
    assert "has not ended: its checkpoint after step 2" in found.told
    assert found.fingerprint == ended.fingerprint


def test_no_two_have_one_name(encoder_run, tmp_path):
    for place in ("a", "b"):
        shutil.copytree(encoder_run(), tmp_path / place / "pretrain")
    places = [str(tmp_path / place / "pretrain") for place in "abb"]
    assert [one.name for one in find_subjects(places)] == [
        "a-pretrain",
        "b-pretrain",
        "b-pretrain-2",
    ]


def test_a_number_behind_a_name_is_not_the_name_of_another(encoder_run, tmp_path):
    places = [tmp_path / name for name in ("x/a", "y/a", "z/a-2")]
    for place in places:
        shutil.copytree(encoder_run(), place)
    assert [one.name for one in find_subjects([*map(str, places)])] == ["a", "a-3", "a-2"]


def test_models_of_timm_that_only_their_name_tells_apart_have_other_fingerprints():
    found = find_subject("random:timm:test_vit")
    other = replace(found, network=TimmNetwork(found.network.body, "test_vit_else"))
    assert _fingerprint(found) == found.fingerprint != _fingerprint(other)


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("random", "name one before or after it, or give random:WHAT"),
        ("random:random:x", "random twice"),
        ("timm:", "names no model"),
        ("timm:nothing", "none of timm's"),
        ("timm:test_vit:away.pth", "there is no such file"),
    ],
)
def test_what_is_nothing_is_refused(what, told):
    with pytest.raises(UserError, match=told):
        find_subject(what)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"seed": -1}, "seed=-1 draws nothing"),
        ({"img_size": 0}, "img_size=0 must be from 1 to"),
        ({"img_size": 20_000}, "img_size=20000 must be from 1 to"),
        ({"img_size": -32}, "img_size=-32 must be from 1 to"),
    ],
)
def test_numbers_that_cannot_be_are_refused(change, told):
    with pytest.raises(UserError, match=told):
        find_subject("random:timm:test_vit", **change)


def test_folders_that_hold_nothing_are_refused(tmp_path):
    for place in (tmp_path / "away", tmp_path):
        with pytest.raises(UserError, match="no encoder weights at"):
            find_subject(str(place))
    with pytest.raises(UserError, match="what='' names no network; give a run folder"):
        find_subject("")
    with pytest.raises(UserError, match="nothing is named"):
        find_subjects([])
