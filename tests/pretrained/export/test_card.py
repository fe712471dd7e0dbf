import json
from dataclasses import replace

import yaml
from safetensors import safe_open

from ssl_swin.pretrained.export.card import model_card, write_cards, write_json, write_weights
from ssl_swin.pretrained.export.handoff import open_handoff


def card_of(source, **changes):
    handed = replace(open_handoff(str(source)), **changes)
    return model_card(handed, "timm", "import timm", "the mask token")


def test_a_model_card_begins_as_others_read_it(finetuned):
    _, front, rest = card_of(finetuned[0], licence="cc0-1.0").split("---\n", 2)
    assert yaml.safe_load(front) == {
        "license": "cc0-1.0",
        "library_name": "timm",
        "pipeline_tag": "image-classification",
        "tags": ["swin", "simmim"],
    }
    assert "cc0-1.0, as whoever exported the weights said" in rest


def test_it_says_what_images_have_to_be_and_what_is_known(run):
    told = card_of(run[0])
    assert "Resize the short side to 71 pixels, bicubic, cut out the centre of 64 x 64" in told
    assert "subtract the mean (0.5, 0.4, 0.3), divide by (0.2, 0.3, 0.4)" in told
    assert "Nobody has said under which licence" in told
    assert "| window_size | 4 |" in told
    assert "Left out: the mask token." in told
    assert "## Classes" not in told


def test_numbers_that_stand_for_none_are_told(run, monkeypatch):
    network = open_handoff(str(run[0])).network
    card = replace(network.card, dtype="int16", nodata=-9999.0)
    monkeypatch.setattr(network, "card", card)
    told = card_of(run[0], network=network)
    assert "take the numbers as they are (int16), subtract" in told
    assert "Where there is no number (NaN or -9999), put the mean first" in told


def test_where_nothing_was_hidden_that_is_told(run, monkeypatch):
    network = open_handoff(str(run[0])).network
    monkeypatch.setattr(network, "card", replace(network.card, mask_ratio=0.0))
    assert "Pretrained on whole images, of which nothing was hidden." in card_of(
        run[0], network=network
    )


def test_a_run_says_how_it_was_trained(two_step_run):
    told = card_of(two_step_run[1])
    assert "masked image modelling (SimMIM): 60% of the patches of 8 pixels were hidden" in told
    assert "It has seen 16 images, counted with repetition, in 1 whole pass over" in told


def test_a_classifier_lists_its_classes(finetuned):
    assert "0. `cat`\n1. `dog`\n2. `owl`" in card_of(finetuned[0])


def test_weights_have_card_and_licence_inside(run, tmp_path_factory):
    handed, folder = open_handoff(str(run[0]), licence="mit"), tmp_path_factory.mktemp("out")
    write_weights(handed, folder, handed.state)
    write_cards(handed, folder, "# mine")
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        inside = file.metadata()
        assert set(file.keys()) == set(handed.state)
    assert inside["license"] == "mit"
    assert json.loads(inside["card"]) == json.loads((folder / "card.json").read_text())


def test_json_keeps_names_of_any_language(tmp_path):
    write_json(tmp_path / "a.json", ["Möwe"])
    assert "Möwe" in (tmp_path / "a.json").read_text("utf-8")
