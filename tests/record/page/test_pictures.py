"""Pictures of a page: small, within a budget, and the ones that tell most first."""

import base64
import io

import numpy as np
from PIL import Image

from ssl_swin.record.page.pictures import MOST_PANELS, WIDEST, Album, by_worth, findings, panels


def opened(picture):
    head, _, text = picture.uri.partition(",")
    assert head == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(text)))


def test_a_picture_is_made_narrow_and_keeps_its_shape(make):
    path = make.picture(make.place / "a.png", (2 * WIDEST, 200))
    picture = Album().add(path)
    assert (picture.width, picture.height) == opened(picture).size == (WIDEST, 100)
    assert picture.name == "a"


def test_pictures_stay_within_the_budget_and_what_is_left_out_is_counted(make):
    path = make.place / "noise.png"
    path.parent.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    whole = Album(10**9)
    whole.add(path)
    size = 10**9 - whole.left
    album = Album(2 * size + 10)
    assert [album.add(path) is not None for _ in range(4)] == [True, True, False, False]
    assert (album.left, album.num_left_out) == (10, 2)


def test_a_picture_that_is_half_written_is_counted_and_left_out(make):
    path = make.picture(make.place / "a.png")
    path.write_bytes(path.read_bytes()[:60])
    album = Album()
    assert album.add(path) is None
    assert album.add(make.place / "missing.png") is None
    path.write_bytes(b"")
    assert album.add(path) is None
    assert (album.num_damaged, album.num_left_out) == (3, 0)


def test_panels_of_all_runs_are_taken_in_turn_the_last_first(make):
    first, second = make.run("first"), make.run("second")
    for step in (10, 20, 30):
        make.panel(first, step)
    make.panel(second, 10)
    size = 10**9 - (album := Album(10**9)).left
    album.add(first.panel(10))
    size = 10**9 - album.left
    found = panels([first, second], Album(3 * size))
    assert [one.name for one in found[first][0]] == ["step-0000010", "step-0000030"]
    assert [one.name for one in found[second][0]] == ["step-0000010"]
    assert (found[first][1], found[second][1]) == (3, 1)


def test_few_of_many_panels_are_spread_over_the_run():
    assert by_worth([]) == []
    assert by_worth(list(range(2))) == [1, 0]
    assert by_worth(list(range(5))) == [4, 0, 2, 1, 3]
    few = sorted(by_worth(list(range(1000))))
    assert len(few) == MOST_PANELS
    assert (few[0], few[-1]) == (0, 999)
    assert max(np.diff(few)) <= 2 * min(np.diff(few)) + 2


def test_a_run_without_panels_has_none(make):
    folder = make.run()
    assert panels([folder], Album()) == {folder: ([], 0)}
    assert panels([], Album()) == {}


def test_pictures_of_no_step_are_findings_and_no_panels(make):
    folder = make.run()
    make.panel(folder, 10)
    make.picture(folder.panel(10).with_name("last-confusion.png"))
    folder.panel(10).with_name("last-mistakes.png").write_bytes(b"half")
    assert [one.name for one in findings(folder, Album())] == ["last-confusion"]
    assert panels([folder], Album())[folder][1] == 1
