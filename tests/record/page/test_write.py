"""The page: whole, on its own, in order for any browser, and safe whatever names hold."""

import html.parser
import re
import shutil
from pathlib import Path

import pytest
import yaml

from ssl_swin.__main__ import run
from ssl_swin.record.lines import append_line
from ssl_swin.record.loaded import write_loaded
from ssl_swin.record.page.write import MOST_LIVES, read_stories, repeat, shown_lives, write_page
from ssl_swin.record.report import find_runs
from ssl_swin.record.run_folder import RunFolder

RELEASES = Path(__file__).parents[2] / "releases"
HOSTILE = """<script>alert('1')</script>&amp;"><img src=x onerror=y>{{ 7*7 }}é😀"""
VOID = ("meta", "img", "br", "hr", "input", "link")


class Reader(html.parser.HTMLParser):
    """Reads a page strictly: tags are closed in the order they were opened."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.links, self.ids, self.text = [], [], [], [], ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        attrs = dict(attrs)
        assert not [name for name in attrs if name.startswith("on")]
        self.links += [attrs[name] for name in ("href", "src") if name in attrs]
        self.ids += [attrs["id"]] if "id" in attrs else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, _):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.text += data


def read(path):
    return Reader(path.read_text(encoding="utf-8"))


@pytest.fixture
def several(make):
    """Three runs: finished with panels and an evaluation, going on, and waiting."""
    done, going = make.run("done"), make.run("going", steps=30, finished=False, seed=1)
    for step in (50, 100):
        make.panel(done, step)
    path = make.evaluation(done, "test", data="t", fingerprint="f", images=5, top1=50.0)
    make.picture(path.with_name("confusion.png"))
    append_line(RunFolder(make.place / "waits").jobs, {"job": "3"})
    with going.metrics.open("a") as file:
        file.write('{"step": 40, "train/lo')
    return make.place


def test_the_page_needs_nothing_from_elsewhere(several, tmp_path):
    write_page(tmp_path / "r.html", find_runs([several]))
    page = read(tmp_path / "r.html")
    assert all(re.match("#|data:image/jpeg;base64,", link) for link in page.links)
    assert {link[1:] for link in page.links if link[0] == "#"} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    text = (tmp_path / "r.html").read_text()
    assert not re.search(r"url\(|@import|https?://", text)
    assert page.tags.count("img") == 3


def test_the_page_tells_of_every_run(several, tmp_path):
    write_page(tmp_path / "r.html", find_runs([several]))
    text = " ".join(read(tmp_path / "r.html").text.split())
    for told in (
        *("3 runs", "done finished", "going running", "waits queued", "30 of 100"),
        *("Loss error of a hidden pixel, standard deviations", "Classifiers on t"),
        *("What differs in the settings setting", "life 1 0 → 100 finished"),
        "no life has begun yet",
    ):
        assert told in text


def test_tasks_are_apart_and_what_a_run_began_with_is_named(make, tmp_path):
    runs = [
        make.run(task, num_classes=2, finished=False, task=task)
        for task in ("single-label", "multi-label", "regression")
    ]
    found = {"source": "t.pth", "kind": "timm's Swin", "loaded": ["a"], "missing": ["mask_token"]}
    write_loaded(runs[0], found | {"remapped": [["stem<b>", "a"]]})
    write_page(tmp_path / "r.html", runs)
    text = " ".join(read(tmp_path / "r.html").text.split())
    for told in (
        *("Fine-tuning Loss cross-entropy", "Fine-tuning to several classes Loss binary"),
        *("Fine-tuning to numbers Loss error of a number", "timm's Swin: 1 loaded, 1 remapped"),
        *("stem<b> -> a", "missing, 1mask_token"),
    ):
        assert told in text


def test_the_command_writes_it_and_says_how_to_open_it(several, tmp_path, capsys):
    assert run(["report", str(several), "-o", str(tmp_path / "r.html")]) == 0
    out = capsys.readouterr().out
    assert f"written: {tmp_path / 'r.html'}" in out
    assert "browser" in out
    assert read(tmp_path / "r.html").text


@pytest.mark.parametrize("release", ["0.1", "0.2", "0.3"])
def test_runs_of_every_release_have_a_page(release, tmp_path, capsys):
    assert run(["report", str(RELEASES / release), "-o", str(tmp_path / "r.html")]) == 0
    text = read(tmp_path / "r.html").text
    assert all(name in text for name in ("finetune", "pretrain-2-processes", "signal SIGUSR1"))
    assert "written" in capsys.readouterr().out


def test_names_are_text_whatever_they_hold(make, tmp_path):
    name = HOSTILE.replace("/", "∕")
    folder = make.run(name, notes=HOSTILE)
    other = make.run("b", steps=40, finished=False, notes="x")
    end = {"life": 1, "step": 30, "reason": HOSTILE, "status": 1, "node": HOSTILE}
    append_line(other.ends, end)
    append_line(other.metrics, {"step": 50, HOSTILE: 1.0})
    make.evaluation(folder, "x", data=HOSTILE, fingerprint="f", top1=1.0)
    write_page(tmp_path / "r.html", [folder, other])
    page = read(tmp_path / "r.html")
    assert page.tags.count("script") == 1
    assert page.tags.count("img") == 0
    assert name in page.text
    assert page.text.count(HOSTILE) >= 4  # setting, reason, node, curve


def test_one_run_has_a_page_of_its_own_without_comparisons(make, tmp_path):
    write_page(tmp_path / "r.html", [make.run("only")])
    page = read(tmp_path / "r.html")
    assert "settings" not in page.ids
    assert "only" in page.text


def test_a_run_without_points_has_a_page(make, tmp_path):
    folder = make.run("begun", steps=0, finished=False)
    write_page(tmp_path / "r.html", [folder])
    assert "No points yet." in read(tmp_path / "r.html").text


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda folder: shutil.rmtree(folder.root), "there is no such run folder"),
        (lambda folder: (shutil.rmtree(folder.root), folder.root.mkdir()), "no runs in"),
        (lambda folder: folder.lives.write_text(""), "lives.jsonl is damaged"),
        (lambda folder: folder.lives.write_text('{"life": 1, "st'), "lives.jsonl is damaged"),
        (lambda folder: folder.summary.write_text('{"kind": "pre'), "is cut off or damaged"),
    ],
    ids=["missing", "empty", "no life", "half a life", "half a summary"],
)
def test_a_folder_that_is_no_run_yet_is_one_line(make, tmp_path, capsys, spoil, told):
    folder = make.run("a", finished=told == "is cut off or damaged")
    spoil(folder)
    assert run(["report", str(folder.root), "-o", str(tmp_path / "r.html")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert told in error
    assert not (tmp_path / "r.html").exists()


@pytest.mark.parametrize("name", ["metrics", "config", "ends", "checkpoints", "owner"])
@pytest.mark.parametrize("text", [None, "", '{"step": 1', "\x00\xff: ["])
def test_whatever_else_is_missing_or_half_written_the_page_is_made(make, tmp_path, name, text):
    folder = make.run("a", finished=False)
    path = getattr(folder, name)
    path.unlink(missing_ok=True) if text is None else path.write_text(text)
    assert run(["report", str(folder.root), "-o", str(tmp_path / "r.html")]) == 0
    assert "running" in read(tmp_path / "r.html").text


def test_a_place_that_cannot_be_written_to_is_one_line(make, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert run(["report", str(make.run().root), "-o", str(tmp_path / "file" / "r.html")]) == 2
    assert capsys.readouterr().err.startswith("error: --output ")


def test_tens_of_runs_stay_one_page_of_some_megabytes(make, tmp_path):
    folders = []
    for number in range(30):
        folder = make.run(f"run{number:02d}", steps=4000, seed=number)
        folders.append(folder)
        make.panel(folder, 4000, (900, 600))
    write_page(tmp_path / "r.html", folders)
    assert (tmp_path / "r.html").stat().st_size < 10e6


def test_a_page_that_cannot_be_made_leaves_the_earlier_one(make, tmp_path):
    folder, out = make.run("a"), tmp_path / "out"
    write_page(out / "r.html", [folder])
    before = (out / "r.html").read_bytes()
    folder.summary.write_text("{")
    with pytest.raises(ValueError, match="is cut off or damaged"):
        write_page(out / "r.html", [folder])
    assert (out / "r.html").read_bytes() == before
    assert len([*out.iterdir()]) == 1


def test_of_many_lives_the_first_and_the_last_are_shown(make, tmp_path):
    folder = make.run("a")
    for life in range(2, 41):
        append_line(folder.lives, {"life": life, "step": 90, "world_size": 1})
    (story,) = read_stories([folder])
    shown, num_more = shown_lives(story)
    assert [life.number for life in shown] == [1, 2, *range(29, 41)]
    assert (len(shown), num_more) == (MOST_LIVES, 26)
    write_page(tmp_path / "r.html", [folder])
    assert "26 more lives" in read(tmp_path / "r.html").text


def test_the_command_to_repeat_a_run_is_quoted(make):
    (story,) = read_stories([make.run("it's mine")])
    assert repeat(story).startswith("ssl-swin pretrain '")
    assert yaml.safe_load(story.folder.config.read_text())["seed"] == 0
