import re
from pathlib import Path

import pytest

from ssl_swin.__main__ import run
from ssl_swin.command_line import read_config
from ssl_swin.config.named import configs, find_config, header
from ssl_swin.errors import UserError

ROOT = Path(__file__).parents[2]
YAMLS = sorted(ROOT.glob("configs/*/*.yaml"))
HEADER = """\
# A run of one
# small kind.
#
# command   ssl-swin pretrain x.yaml
# hardware  1 GPU; with less memory,
#           more steps
# expected  83.5
#
# hours are not told here.
run_dir: x
# source    none
"""


@pytest.mark.parametrize("path", YAMLS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_the_header_of_every_config_says_what_the_list_shows(path):
    said = header(path.read_text("utf-8"))
    assert {"purpose", "command", "hardware", "expected"} <= set(said)
    assert {"minutes", "hours", "time"} & set(said)
    assert 20 < len(said["purpose"]) < 200
    kind, name = path.parent.name, path.stem
    assert re.fullmatch(rf"(srun )?ssl-swin {kind} configs/{kind}/{name}\.yaml.*", said["command"])
    times = [said[one] for one in ("minutes", "hours", "time") if one in said]
    for told in (said["expected"], *times):
        assert re.search(r"\d|not measured", told), "a number, or that none is measured"


def test_a_header_is_read_by_its_fields():
    assert header(HEADER) == {
        "purpose": "A run of one small kind.",
        "command": "ssl-swin pretrain x.yaml",
        "hardware": "1 GPU; with less memory, more steps",
        "expected": "83.5",
    }
    assert header("# ssl-swin pretrain x.yaml\n#" + HEADER.partition("\n#")[2]) == {
        "purpose": "small kind.",
        "command": "ssl-swin pretrain x.yaml",
        "hardware": "1 GPU; with less memory, more steps",
        "expected": "83.5",
    }
    assert header("run_dir: x\n") == {}


def test_all_are_listed_from_any_folder(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert run(["configs"]) == 0
    told = capsys.readouterr().out
    pretrain, finetune = told.split("ssl-swin finetune NAME\n")
    for path in YAMLS:
        assert f"\n  {path.stem}\n" in "\n" + (pretrain if "pre" in path.parent.name else finetune)
    assert max(map(len, told.splitlines())) <= 100


@pytest.mark.parametrize("name", ["pretrain/demo", "configs/pretrain/demo.yaml"])
def test_one_is_printed_as_it_is(name, capsys):
    configs(name)
    assert capsys.readouterr().out == (ROOT / "configs/pretrain/demo.yaml").read_text("utf-8")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("demo", "^2 configs are called demo; give pretrain/demo or finetune/demo$"),
        ("swin_bas", "^no config swin_bas is shipped; give one of pretrain/.*pretrain/demo, "),
    ],
)
def test_a_name_of_none_or_two_is_refused(name, said):
    with pytest.raises(UserError, match=said):
        configs(name)


@pytest.mark.parametrize("given", ["demo", "finetune/demo", "configs/finetune/demo.yaml"])
def test_a_shipped_config_is_read_by_its_name_from_any_folder(given, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    config, said = read_config("finetune", [given])
    assert config.num_classes == 10
    assert said["told"] == [f"{given} is the shipped {ROOT / 'configs/finetune/demo.yaml'}"]
    for_pretraining = "pretrain/swin_base_simmim_100ep"
    with pytest.raises(UserError) as error:
        find_config("finetune", for_pretraining)
    assert str(error.value).startswith(
        f"no config {for_pretraining}: {tmp_path / for_pretraining} is not there, and no config of "
        "that name is shipped for finetune; give a file, or one of demo, "
    )


def test_a_file_goes_before_a_name_and_a_folder_is_left_to_the_reader(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").write_text("run_dir: x\n")
    assert find_config("pretrain", "demo") == "demo"
    (tmp_path / "images").mkdir()
    assert find_config("pretrain", "images") == "images"
