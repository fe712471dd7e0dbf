from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import get_args, get_origin, get_type_hints

import pytest
import yaml

from ssl_swin.command_line import read_config
from ssl_swin.config.items import EXAMPLES
from ssl_swin.config.run import KINDS
from ssl_swin.errors import UserError

PRETRAIN = "configs/pretrain/demo.yaml"
HEADS, SETS = EXAMPLES["heads"], EXAMPLES["data.sets"]
MISFITS = [
    ("heads", "[{target: pixels}]", f"heads[0]: stage is missing; write it like '{HEADS}'"),
    ("heads", "[2]", f"heads[0]=2 must hold `key: value`; write it like '{HEADS}'"),
    ("heads", "foo", f"heads=foo is no list; write it like '{HEADS}'"),
    ("heads", "{stage: 2}", f"heads={{'stage': 2}} is no list; write it like '{HEADS}'"),
    ("heads", "[{stage: 2.0}]", "heads[0].stage=2.0 does not fit; give int"),
    ("heads", "[{stage: true}]", "heads[0].stage=True does not fit; give int"),
    ("heads", "[{stage: 2, weight: x}]", "heads[0].weight=x does not fit; give float"),
    (
        "heads",
        "[{stage: 2}, {stage: 1, where: nowhere}]",
        "heads[1].where=nowhere does not fit; give hidden, everywhere or null",
    ),
    ("heads", "[{stage: 2}, {stage: 0}]", "heads[1].stage=0 must be greater than 0"),
    (
        "progressive",
        "[{img_size: 16}]",
        f"progressive[0]: until_epoch is missing; write it like '{EXAMPLES['progressive']}'",
    ),
    (
        "progressive",
        "[{img_size: 16, until_epoch: 0.5}]",
        "progressive[0].until_epoch=0.5 does not fit; give int",
    ),
    (
        "progressive",
        "[{img_size: [16], until_epoch: 1}]",
        "progressive[0].img_size=[16] does not fit; give int or [int, int]",
    ),
    ("data.sets", "[{shards: a}]", f"data.sets[0]: weight is missing; write it like '{SETS}'"),
    ("data.sets", "[{shards: 1, weight: 1}]", "data.sets[0].shards=1 does not fit; give str"),
]


def _refused(*words):
    with pytest.raises(UserError) as caught:
        read_config("pretrain", [*words])
    return str(caught.value)


@pytest.mark.parametrize(("name", "value", "said"), MISFITS)
def test_what_of_a_list_does_not_fit_is_named_as_it_is_given(name, value, said, tmp_path):
    assert _refused(PRETRAIN, f"--{name}", value) == said
    assert _refused(PRETRAIN, f"--{name}={value}") == said
    content = yaml.safe_load(Path(PRETRAIN).read_text("utf-8"))
    *sections, last = name.split(".")
    section = content[sections[0]] if sections else content
    section[last] = yaml.safe_load(value)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(content))
    assert _refused(str(tmp_path / "config.yaml")) == said
    assert _refused("--config", str(tmp_path / "config.yaml")) == said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--heads", "[{stage: 2"], "heads='[{stage: 2' is not YAML; write it like"),
        (["--heads.stage", "2"], "heads={'stage': 2} is no list"),
        (["--heads", "null"], "heads=null is no list; write it like"),
        (["--data", "{sets: foo}"], "data.sets=foo is no list"),
        (["--heads", "[{stage: 2, foo: 1}]"], "heads[0].foo is not known; give stage, target, "),
    ],
)
def test_what_a_command_line_alone_can_say(words, said):
    assert said in _refused(PRETRAIN, *words)


def test_what_fits_stays_as_it_was_read():
    config, _ = read_config("pretrain", [PRETRAIN, "--heads", "[{stage: '2', weight: 1e-3}]"])
    assert (config.heads[0].stage, config.heads[0].weight) == (2, 0.001)


def test_another_fault_keeps_its_own_words():
    said = _refused(PRETRAIN, "--heads", "[{stage: 2}]", "--optim.epochs", "many")
    assert said == "optim.epochs=many does not fit; give int"


def test_each_list_has_an_example_that_fits():
    names = {name for kind in KINDS.values() for name in _lists(kind)}
    assert names == {*EXAMPLES}
    for name, value in EXAMPLES.items():
        without = ["--data.shards", "null"] if name == "data.sets" else []
        read_config("pretrain", [PRETRAIN, f"--{name}={value}", "--optim.epochs=200", *without])


def _lists(kind, prefix=""):
    hints = get_type_hints(kind)
    for one in fields(kind):
        hint = hints[one.name]
        if is_dataclass(hint):
            yield from _lists(hint, f"{prefix}{one.name}.")
        elif get_origin(hint) is tuple and is_dataclass(get_args(hint)[0]):
            yield f"{prefix}{one.name}"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--heads", "[{stage: 1, stage: 2}]"],
            r"^heads\[0\]\.stage stands there twice; leave one",
        ),
        (["--mask={mask_ratio: 1, mask_ratio: 2}"], r"^mask\.mask_ratio stands there twice"),
    ],
)
def test_a_key_that_stands_twice_in_words_is_refused(words, said):
    with pytest.raises(UserError, match=said):
        read_config("pretrain", ["demo", *words])
