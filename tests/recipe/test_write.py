from dataclasses import replace

import pytest
import yaml

from ssl_swin.config.settings import flatten
from ssl_swin.recipe.choose import Wishes, choose
from ssl_swin.recipe.measure import Speed, config_of, estimate
from ssl_swin.recipe.write import as_yaml, commands, name_of, places_of, plain
from tests.recipe.machines import CLUSTER, LAPTOP, MACHINES, images

SPEED = Speed(200.0, 900.0, 40, 0.2, True, 2_200_000)


def written(found, machine, speed=SPEED):
    places = places_of(found, "my.yaml", None)
    choices = choose(found, machine, places.shards, Wishes(places.run_dir))
    return choices, as_yaml(choices, found, machine, places, speed)


def typed(found, machine):
    places = places_of(found, "my.yaml", None)
    return commands(found, machine, written(found, machine)[0], places)


@pytest.mark.parametrize("machine", MACHINES)
def test_the_text_is_the_config_with_a_reason_for_each_line(machine):
    choices, text = written(images(chans=1, white=1023.0), machine)
    content = yaml.safe_load(text)
    flat = flatten(config_of(choices))
    for name in choices:
        *sections, key = name.split(".")
        part = content
        for section in sections:
            part = part[section]
        assert part[key] == flat[name], name
    assert all("  # " in line for line in text.splitlines() if ": " in line and line[0] != "#")
    assert text == written(images(chans=1, white=1023.0), machine)[1]


def test_the_header_says_what_to_type_on_what_for_how_long_and_what_to_expect():
    _, text = written(images(classes=("a", "b")), LAPTOP)
    header = [line for line in text.splitlines() if line.startswith("#")]
    assert header[0] == "# ssl-swin pretrain my.yaml"
    assert max(map(len, header)) <= 100
    for words in ("2.2 M parameters", "2 classes", "2 cores", "images/s", "no number is measured"):
        assert any(words in line for line in header), words
    _, text = written(images(), CLUSTER, estimate(images(), CLUSTER, 8))
    assert "an estimate" in text


def test_a_busy_machine_is_said_to_be_busy():
    _, text = written(images(), LAPTOP, Speed(200.0, 900.0, 40, 9.0, False, 2_200_000))
    assert "if nothing else runs" in text
    assert "9 processes wanted the 2 cores" in text


def test_images_that_are_not_packed_are_packed_first():
    large = images(side=1200, classes=("a", "b"))
    large = replace(large, shards=None, source="my photos")
    lines = typed(large, LAPTOP)
    assert lines[0] == (
        "ssl-swin shards create 'my photos' 'shards/my photos' --split val=0.1 --short-side 256"
    )
    assert lines[1] == "ssl-swin pretrain my.yaml"
    assert "--data.val-shards 'shards/my photos/val'" in lines[2]
    _, text = written(large, LAPTOP)
    assert text.startswith(f"# {lines[0]}\n")
    assert "  shards: shards/my photos/train" in text
    assert "  val_shards: shards/my photos/val" in text
    assert "  labelled_shards: shards/my photos/train" in text
    assert "labelled_shards" not in written(images(), LAPTOP)[1]


def test_on_a_slurm_the_run_is_queued():
    (line,) = typed(images(), CLUSTER)
    assert line == (
        "ssl-swin submit pretrain my.yaml --partition gpus --nodes 1 --gpus-per-node 8 "
        "--time 1-00:00:00"
    )
    assert "--time" not in typed(images(), replace(CLUSTER, time_limit="infinite"))[0]


def test_without_labels_there_is_nothing_to_fine_tune():
    assert len(typed(images(), LAPTOP)) == 1
    labelled = images(labelled_share=1.0)
    assert len(typed(labelled, LAPTOP)) == 2


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("shards/mine", "mine"),
        ("shards/mine/train", "mine"),
        ("a/b/train-{000000..000009}.tar", "b"),
        ("a/b/*.tar", "b"),
        ("s3://bucket/photos/train-000000.tar", "photos"),
        ("/photos", "photos"),
    ],
)
def test_runs_are_named_after_the_images(source, name):
    assert name_of(source) == name


@pytest.mark.parametrize("value", [0.024, 1e-7, None, [0.5, 1.0], "a: b # c", "12", True, 3])
def test_a_value_is_read_again_as_it_was(value):
    text = plain(value)
    assert "\n" not in text
    assert yaml.safe_load(text) == value
