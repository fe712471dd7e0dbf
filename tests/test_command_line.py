import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from ssl_swin.command_line import call, read_config, take
from ssl_swin.config.flags import with_hyphens, with_underscores
from ssl_swin.errors import UserError

PRETRAIN = "configs/pretrain/demo.yaml"


@dataclass(frozen=True)
class Shape:
    """A toy."""

    rows: int
    """How many, 90 % of them."""
    kind: Literal["flat", "tall"] = "flat"
    """Of a shape."""


def toy(
    source: Path, *runs: Path, shape: Shape, times: float = 1.5, num_loops: int = 2
) -> tuple | int:
    """Do nothing.

    Not even that.

    Args:
        source: Where from.
        runs: Where to.
        shape: Of what.
        times: How often, in %.
        num_loops: Of it.
    """
    return source, runs, shape, times, num_loops


def test_a_typed_function_is_called_with_what_the_words_say():
    found = call("toy", toy, ["a", "b", "c", "--rows", "3", "--num_loops=4"])
    assert found == (Path("a"), (Path("b"), Path("c")), Shape(3), 1.5, 4)
    for flag in ("--num-loops", "--num_loops"):
        assert call("toy", toy, ["a", "--rows=3", flag, "4"])[4] == 4
    found = call("toy", toy, ["a", "--rows=3", "--kind=tall", "--times", "1e-3"])
    assert found == (Path("a"), (), Shape(3, "tall"), 0.001, 2)


def test_flags_may_stand_before_between_and_after_the_arguments_that_are_left():
    expected = (Path("a"), (Path("b"), Path("c")), Shape(3), 2.0, 2)
    flags = ["--rows=3", "--times", "2"]
    for place in range(4):
        words = ["a", "b", "c"]
        words[place:place] = flags
        assert call("toy", toy, words) == expected


def test_arguments_that_are_left_are_taken_as_they_stand():
    def show(first: str, *images: str) -> tuple:
        """Do nothing."""
        return first, images

    words = ["a", "1e3", "null", "[x]", "a: b", "ünï.jpg", "x" * 5000]
    assert call("show", show, words) == ("a", tuple(words[1:]))


def test_an_output_has_a_short_flag_and_a_flag_by_name_alone_must_be_given():
    def pack(source: Path, *, data: str, output: str = "-") -> tuple:
        """Do nothing."""
        return source, data, output

    assert call("pack", pack, ["-o", "x", "a", "--data=d"]) == (Path("a"), "d", "x")
    assert call("pack", pack, ["a", "--data=d", "-ox"]) == (Path("a"), "d", "x")

    def some(*sources: str, output: str = "-") -> tuple:
        """Do nothing."""
        return sources, output

    assert call("some", some, ["-ox", "a", "b"]) == call("some", some, ["a", "b", "-o", "x"])
    assert call("pack", pack, ["a", "--data=d", "-o", "-"]) == (Path("a"), "d", "-")
    with pytest.raises(UserError, match="data"):
        call("pack", pack, ["a"])


def test_what_returns_nothing_has_status_0():
    assert call("x", lambda: None, []) == 0


def test_what_is_handed_is_no_flag():
    def plain(run: object, seed: int = 0) -> int:
        """Do it."""
        return run(seed)

    assert call("x", plain, ["--seed=4"], run=lambda seed: seed + 1) == 5
    with pytest.raises(UserError, match="unknown option --run"):
        call("x", plain, ["--run=4"], run=None)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--rows=3"], "source"),
        (["a"], "rows"),
        (["a", "--rows=x"], "rows.*x"),
        (["a", "--rows"], "expected one argument"),
        (["a", "--rows=3", "--kind=round"], "^kind=round does not fit; give flat or tall$"),
        (["a", "--rows=3", "--num-lops=1"], "unknown option --num-lops; did you mean --num-loops?"),
        (["a", "--rows=3", "--num_lops=1"], "unknown option --num_lops; did you mean --num-loops?"),
        (["a", "--rows=3", "--num_loops"], "argument --num-loops: expected one argument"),
    ],
)
def test_words_that_do_not_fit_are_refused_in_one_line(words, said):
    with pytest.raises(UserError, match=said) as info:
        call("toy", toy, words)
    assert "\n" not in str(info.value)


def test_the_help_is_made_of_docstrings(capsys):
    with pytest.raises(SystemExit):
        call("toy", toy, ["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    texts = ("Do nothing. Not even that.", "Where from.", "How many, 90 % of them.", "often, in %.")
    assert all(text in shown for text in texts)
    assert "--num-loops NUM_LOOPS" in shown
    assert "--num_loops" not in shown


@dataclass(frozen=True)
class Flags:
    """A toy."""

    num_things: int = 0
    """How many."""
    more: tuple[str, ...] = ()
    """More."""
    dry_run: bool = False
    """No."""


def test_flags_are_taken_and_other_words_are_left_in_their_order():
    line = "a --x_y 1 --num-things 3 --more=--y_z --b-c=2 --more z --dry_run --num_things 4"
    flags, others = take("toy", "", Flags(), line.split())
    assert flags == Flags(4, ("--y_z", "z"), True)
    assert others == ["a", "--x_y", "1", "--b-c=2"]
    assert take("toy", "", flags, ["--more=w"]) == (Flags(4, ("--y_z", "z", "w"), True), [])
    with pytest.raises(UserError, match="expected one argument"):
        take("toy", "", Flags(), ["--more"])


def test_a_config_is_read_with_what_goes_before_it():
    config, options = read_config("pretrain", [PRETRAIN, "--seed=3", "--resume-from", "a.ckpt"])
    assert (config.seed, config.optim.epochs) == (3, 9)
    given = options.pop("given")
    assert options.pop("told") == []
    assert options == {
        "resume_from": Path("a.ckpt"),
        "dry_run": False,
        "find_micro_batch": False,
    }
    assert {"seed", "run_dir", "data.shards", "optim.epochs"} <= given
    assert not {"model.drop_path_rate", "optim.betas", "optim", "data"} & given
    with pytest.raises(UserError, match="unknown key num_classes"):
        read_config("pretrain", ["configs/finetune/demo.yaml"])


@pytest.mark.parametrize("spelled", [with_hyphens, with_underscores])
def test_settings_are_flags_with_hyphens_or_underscores(spelled, capsys):
    words = ["--run_dir=r_-r", "--data.num_lanes", "4", "--data.val_shards=a_b-c", "--dry_run"]
    config, options = read_config("pretrain", [PRETRAIN, *map(spelled, words)])
    assert (config.run_dir, config.data.num_lanes, config.data.val_shards) == ("r_-r", 4, "a_b-c")
    assert options["dry_run"]
    assert options["given"] >= {"run_dir", "data.num_lanes", "data.val_shards"}
    with pytest.raises(SystemExit):
        read_config("pretrain", ["--help"])
    shown = capsys.readouterr().out
    assert shown.startswith("usage: ssl-swin pretrain CONFIG [--key value ...]\n")
    assert "--data.val-shards VAL_SHARDS" in shown
    assert re.findall(r"--[\w.-]*_\w*", shown) == []


@pytest.mark.parametrize("given", ["left", ""])
def test_a_word_or_null_is_told_in_plain_words(given):
    told = rf"^model\.shift={given} does not fit; give cyclic, padded, none or null$"
    with pytest.raises(UserError, match=told):
        read_config("pretrain", [PRETRAIN, f"--model.shift={given}"])


def test_a_decoder_that_is_gone_is_refused_with_those_there_are():
    config, _ = read_config("pretrain", [PRETRAIN, "--data.decoder=pil"])
    assert config.data.decoder == "pil"
    with pytest.raises(UserError, match=r"^data\.decoder=gpu does not fit; give fast or pil$"):
        read_config("pretrain", [PRETRAIN, "--data.decoder=gpu"])


@pytest.mark.parametrize("written", ["on", "'on'", "off", "auto"])
def test_on_and_off_in_a_file_are_words(written, tmp_path):
    """YAML takes them for truth values."""
    text = Path(PRETRAIN).read_text(encoding="utf-8")
    path = tmp_path / "config.yaml"
    path.write_text(text.replace("training:", f"training:\n  fused_attention: {written}"))
    config, _ = read_config("pretrain", [str(path), "--training.compile=off"])
    assert config.training.fused_attention == written.strip("'")
    assert config.training.compile == "off"
    path.write_text(text.replace("training:", "training:\n  compile: on"))
    with pytest.raises(UserError, match=r"compile=on does not fit; give off, default or red"):
        read_config("pretrain", [str(path)])
