from dataclasses import asdict

import pytest
import yaml

from ssl_swin.command_line import read_config
from ssl_swin.config.finetuning import FinetuningConfig
from ssl_swin.errors import UserError

REFUSED = [
    ({"focal_gamma": -1.0}, "finetune.focal_gamma=-1.0 must be 0 or more"),
    ({"head_epochs": -1}, "finetune.head_epochs=-1 must be 0 or more"),
    ({"head_epochs": 1, "freeze": "encoder"}, "finetune.head_epochs=1 needs more to train later"),
    ({"freeze": -1}, "finetune.freeze=-1 must be 0 or more"),
]


@pytest.mark.parametrize(("values", "message"), REFUSED)
def test_values_that_cannot_be_are_refused_by_their_name(values, message):
    with pytest.raises(UserError, match=message):
        FinetuningConfig(**values)


@pytest.mark.parametrize(
    "weights", [(), (0.0, 0.0), (1.0, -1.0), (1.0, float("nan")), {}, {"a": float("inf")}]
)
def test_weights_that_no_loss_can_have_are_refused(weights):
    with pytest.raises(UserError, match=r"^finetune.class_weights=.* must be numbers of 0 or more"):
        FinetuningConfig(class_weights=weights)


def read(*words):
    return read_config("finetune", ["--run-dir=a", "--data.shards=b", *words])[0].finetune


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("balanced", "balanced"),
        ("[1, 2.5]", (1.0, 2.5)),
        ("{T-shirt/top: 2, 'a b': 0.5}", {"T-shirt/top": 2.0, "a b": 0.5}),
        ("{0: 2, 1: 3}", {"0": 2.0, "1": 3.0}),
    ],
)
def test_weights_are_words_a_list_or_by_name_on_the_command_line_and_in_a_file(
    tmp_path, text, found
):
    assert read(f"--finetune.class-weights={text}").class_weights == found
    path = tmp_path / "c.yaml"
    path.write_text(f"run_dir: a\ndata: {{shards: b}}\nfinetune: {{class_weights: {text}}}\n")
    config = read_config("finetune", [str(path)])[0]
    assert config.finetune.class_weights == found
    path.write_text(yaml.safe_dump(asdict(config)))  # as a run folder keeps it
    assert read_config("finetune", [str(path)])[0] == config


@pytest.mark.parametrize("text", ["some", "[a]", "{a: b}", "{a: {b: 1}}"])
def test_other_weights_are_one_line(text):
    with pytest.raises(
        UserError, match=r"^finetune\.class_weights=.*fit; give none, balanced, \[f.*str: fl"
    ):
        read(f"--finetune.class-weights={text}")
