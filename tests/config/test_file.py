from pathlib import Path

import pytest
import yaml

from ssl_swin.command_line import read_config
from ssl_swin.config.file import read_file, setting_names
from ssl_swin.config.model import HeadConfig
from ssl_swin.config.run import FinetuneConfig, PretrainConfig
from ssl_swin.errors import UserError

PRETRAIN = "configs/pretrain/demo.yaml"


def test_a_file_is_read_as_it_is_where_its_names_are_todays():
    path, keys, told = read_file(PRETRAIN, PretrainConfig)
    assert (path, told) == (PRETRAIN, [])
    assert {"run_dir", "data.shards", "optim.epochs"} <= keys
    assert not {"data", "optim.betas"} & keys


def test_heads_are_a_list_whose_keys_are_known(tmp_path):
    path, plain = tmp_path / "config.yaml", Path(PRETRAIN).read_text("utf-8")
    path.write_text(f"{plain}heads:\n- {{stage: 1, target: hog, cell_size: 4}}\n- {{stage: 2}}\n")
    config = read_config("pretrain", [str(path)])[0]
    assert config.heads == (HeadConfig(1, "hog", cell_size=4), HeadConfig(2))
    path.write_text(f"{plain}heads:\n- {{stag: 1}}\n")
    with pytest.raises(UserError, match=r"unknown key heads\[0\]\.stag; did you mean heads\.stage"):
        read_config("pretrain", [str(path)])


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("heads: [{stage: 0}]", r"heads\[0\]\.stage=0 must be greater than 0"),
        ("heads: [{stage: 1, weight: -1}]", r"heads\[0\]\.weight=-1 must be greater than 0"),
        ("heads: [{stage: 2}]\nloss: l2", "loss=l2 beside heads, each of which has its own"),
        ("loss_beta: 0", "loss_beta=0.0 must be greater than 0"),
        ("target: {teacher: x}", r"target\.teacher=x goes with target\.kind=teacher"),
    ],
)
def test_heads_and_targets_that_contradict_each_other_are_one_line(more, said, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(f"{Path(PRETRAIN).read_text('utf-8')}{more}\n")
    with pytest.raises(UserError, match=said):
        read_config("pretrain", [str(path)])


def test_switches_that_yaml_takes_for_truth_values_are_words(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(
        Path(PRETRAIN).read_text("utf-8").replace("training:", "training:\n  compile: off")
    )
    read, keys, _ = read_file(str(path), PretrainConfig)
    assert "compile: 'off'" in read
    assert "training.compile" in keys


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a: [", "is not YAML"),
        ("- a\n", "is not a config"),
        ("data: 3\n", "data must hold"),
        ("data:\n  shard: x\n", "unknown key data.shard; did you mean data.shards"),
        ("seed: 1\nseed: 2\n", "seed stands there twice; leave one of them out"),
        ("heads: [{stage: 2}, {stage: 2, target: }]\n", r"heads\[1\]\.target is null, and must"),
    ],
)
def test_what_is_no_config_is_one_line(content, said, tmp_path):
    (tmp_path / "a.yaml").write_text(content)
    with pytest.raises(UserError, match=said) as info:
        read_file(str(tmp_path / "a.yaml"), PretrainConfig)
    assert "\n" not in str(info.value)


def test_a_folder_is_told_what_to_type_instead(tmp_path):
    with pytest.raises(UserError, match="type: ssl-swin shards create"):
        read_file(str(tmp_path), FinetuneConfig)


def test_settings_are_named_with_the_sections_they_are_in():
    names = {*setting_names(FinetuneConfig)}
    assert {"encoder", "data", "data.label_field", "data.sets.weight"} <= names


@pytest.mark.parametrize("name", ["seed", "optim.epochs", "data.mean", "data.hflip", "heads"])
def test_null_where_a_value_must_be_is_refused(name, tmp_path):
    *sections, last = name.split(".")
    inner = {last: None}
    content = {"run_dir": "x", **({sections[0]: inner} if sections else inner)}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match=f"{name} is null, and must have a value; give one"):
        read_config("pretrain", [str(tmp_path / "config.yaml")])
