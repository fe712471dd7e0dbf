import shutil

import pytest
import torch

from ssl_swin.errors import UserError
from ssl_swin.pretrained.export.handoff import open_handoff
from tests.pretrained.export.runs import IMAGES, close


def test_a_run_gives_its_encoder(run):
    handed = open_handoff(str(run[0]), licence="cc-by-4.0")
    assert (handed.part, handed.classes, handed.head) == ("encoder", (), {})
    assert handed.resized_px == 71  # 64 / 0.9
    assert handed.card["license"] == "cc-by-4.0"
    assert handed.card["mean"] == [0.5, 0.4, 0.3]
    with torch.no_grad():
        close(handed.computing()(IMAGES), run[1])


def test_a_fine_tuning_gives_its_classifier_or_the_encoder_below(finetuned):
    source, classifier = finetuned
    handed = open_handoff(str(source))
    assert (handed.part, handed.classes) == ("classifier", ("cat", "dog", "owl"))
    assert handed.head.keys() == {"weight", "bias"}
    with torch.no_grad():
        close(handed.computing()(IMAGES), classifier)
        file = str(source / "classifier.safetensors")
        close(open_handoff(file, "encoder").computing()(IMAGES), classifier.encoder)


def test_a_pretraining_has_no_classifier(two_step_run):
    with pytest.raises(UserError, match="knows no classes"):
        open_handoff(str(two_step_run[1]), "classifier")


def test_what_is_not_there_is_told(tmp_path):
    with pytest.raises(UserError, match="no encoder weights at"):
        open_handoff(str(tmp_path / "nowhere"))


@pytest.mark.parametrize("licence", ["", "two words", "a\nb", "MIT'", "x" * 65])
def test_a_licence_is_one_word(run, licence):
    with pytest.raises(UserError, match="must be one word"):
        open_handoff(str(run[0]), licence=licence)


@pytest.mark.parametrize(
    ("folder", "name"),
    [("a/pretrain", "a-pretrain"), ("a/mine", "mine"), ("b/finetune", "b-finetune")],
)
def test_a_run_is_called_after_its_folder(run, tmp_path_factory, folder, name):
    place = tmp_path_factory.mktemp("runs") / folder
    shutil.copytree(run[0], place)
    assert open_handoff(str(place)).name == name
    assert open_handoff(str(place / "encoder.safetensors")).name == "encoder"


def test_images_that_are_no_square_are_resized_alone(tiny, tmp_path):
    from ssl_swin.pretrained.card import EncoderCard, write_encoder

    encoder = tiny(img_size=(64, 96))
    card = EncoderCard.of(encoder, (0.5,) * 3, (0.5,) * 3)
    write_encoder(tmp_path / "a.safetensors", encoder.state_dict(), card)
    assert open_handoff(str(tmp_path / "a.safetensors")).resized_px is None
