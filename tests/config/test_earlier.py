import pytest

from ssl_swin.command_line import read_config
from ssl_swin.config import earlier
from ssl_swin.config.earlier import renew_content, renew_stored, renew_words
from ssl_swin.errors import UserError

TEXT = """
run_dir: runs/a
data: {shards: s}
old: {rate: 0.125, betas: [0.5, 0.5]}
optim: {nesterov: false, pretty: [7]}
"""


@pytest.fixture(autouse=True)
def tables(monkeypatch):
    """One setting that was renamed, one whose section was, two that are gone."""
    renamed = {"old.rate": "optim.base_lr", "old.betas": "optim.betas"}
    renamed["old.be_tas"] = "optim.betas"
    monkeypatch.setattr(earlier, "RENAMED", renamed)
    monkeypatch.setattr(earlier, "REMOVED", {"optim.nesterov": False, "optim.pretty": ...})


def test_a_config_with_old_names_is_read_and_the_new_ones_are_told(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text(TEXT)
    for words in ([str(path)], ["--config", str(path)], [f"--config={path}"]):
        config, said = read_config("pretrain", words)
        assert (config.optim.base_lr, config.optim.betas) == (0.125, (0.5, 0.5))
        assert said["told"] == [
            f"{path}: old.rate is optim.base_lr today",
            f"{path}: old.betas is optim.betas today",
            f"{path}: optim.nesterov is no more, all runs do as with False",
            f"{path}: optim.pretty is no more, and changes nothing",
        ]
        assert said["given"] >= {"run_dir", "data.shards", "optim.base_lr", "optim.betas"}
        assert "optim" not in said["given"]


def test_so_is_a_command_line():
    words = ["a.yaml", "--old.rate=2", "--old.betas", "[1, 2]", "--optim.nesterov=false"]
    renewed, told = renew_words([*words, "--optim.pretty", "x", "--seed=3", "old.rate"])
    now = ["a.yaml", "--optim.base_lr=2", "--optim.betas", "[1, 2]", "--seed=3", "old.rate"]
    assert renewed == now
    assert told[0] == "--old.rate is --optim.base-lr today"
    assert told[2:] == [
        "--optim.nesterov is no more, all runs do as with False",
        "--optim.pretty is no more, and changes nothing",
    ]
    told = renew_words(["--old.be-tas=1", "--old.be_tas=1"])[1]
    assert told == ["--old.be-tas is --optim.betas today", "--old.be_tas is --optim.betas today"]
    assert renew_words(["a.yaml", "--seed", "3"]) == (["a.yaml", "--seed", "3"], [])


def test_what_all_runs_now_do_otherwise_is_refused():
    said = "optim.nesterov is no more, all runs do as with False, not True: leave it out"
    with pytest.raises(UserError, match=f"^a.yaml: {said}"):
        renew_content({"optim": {"nesterov": True}}, "a.yaml")
    with pytest.raises(UserError, match=f"^--{said}"):
        renew_words(["--optim.nesterov", "true"])


def test_a_setting_under_both_names_is_refused():
    content = {"old": {"rate": 1}, "optim": {"base_lr": 1}}
    with pytest.raises(UserError, match=r"a.yaml: old.rate is optim.base_lr today; give it once"):
        renew_content(content, "a.yaml")


def test_stored_settings_get_their_names_of_today():
    stored = {"old.rate": 1, "optim.pretty": 2, "optim.nesterov": False, "seed": 3}
    assert renew_stored(stored) == {"optim.base_lr": 1, "seed": 3}
    assert renew_stored({"optim.nesterov": True}) == {"optim.nesterov": True}
