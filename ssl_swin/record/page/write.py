"""`ssl-swin report ... -o report.html`: runs as one page that needs no network, nor a script."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from ssl_swin import __version__
from ssl_swin.phases import Phase, duration
from ssl_swin.record.lines import write_text
from ssl_swin.record.page.curves import NUM_COLOURS, charts
from ssl_swin.record.page.evaluations import evaluations
from ssl_swin.record.page.facts import MOST_ABREAST, environments, results, results_of, settings
from ssl_swin.record.page.pictures import Album, findings, panels
from ssl_swin.record.page.story import Life, Story, read_story
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.record.summary import read_summary
from ssl_swin.typed import typed

TITLES = {
    "pretrain": "Pretraining",
    "finetune": "Fine-tuning",
    "multi-label": "Fine-tuning to several classes",
    "regression": "Fine-tuning to numbers",
}
MOST_LIVES = 14  # that are shown of a run: the first two, and the last ones


@dataclass(frozen=True)
class Note:
    """What was left out of a page, so that it stays small."""

    num_pictures: int
    num_damaged: int


def write_page(path: Path, folders: Sequence[RunFolder]) -> None:
    """Write the page of some runs, whole or not at all.

    Raises:
        UserError: If a summary cannot be read.
    """
    with Phase("reading runs"):
        stories = read_stories(folders)
    with Phase("making pictures small"):
        text = page(stories, typed("report", *(folder.root for folder in folders), "-o", path))
    write_text(path, text)


def read_stories(folders: Sequence[RunFolder]) -> list[Story]:
    """Read runs; each is named by its path below the deepest folder they share."""
    roots = [folder.root.resolve() for folder in folders]
    above = os.path.commonpath([root.parent for root in roots])
    return [
        read_story(folder, str(root.relative_to(above)), number, read_summary(folder))
        for number, (folder, root) in enumerate(zip(folders, roots, strict=True))
    ]


def page(stories: Sequence[Story], command: str) -> str:
    """Return the page; names of runs, settings and reasons are text in it, whatever they hold."""
    album = Album()
    pictures = panels([story.folder for story in stories], album)
    found = {story.number: findings(story.folder, album) for story in stories}
    measured = evaluations(stories, album)
    tasks = {task: [one for one in stories if one.task == task] for task in TITLES}
    made = jinja2.Environment(
        autoescape=True,
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    known = {"num_colours": NUM_COLOURS, "most_abreast": MOST_ABREAST, "duration": duration}
    return made.get_template("page.html", globals=known).render(
        stories=stories,
        title=stories[0].name if len(stories) == 1 else f"{len(stories)} runs",
        written=time.strftime("%d %B %Y, %H:%M UTC", time.gmtime()),
        version=__version__,
        command=command,
        results=results(stories),
        results_of=results_of,
        charts=[(TITLES[task], charts(of_task)) for task, of_task in tasks.items() if of_task],
        panels={story.number: pictures[story.folder] for story in stories},
        findings=found,
        evaluations=measured,
        settings=settings(stories) if len(stories) > 1 else None,
        environments=environments(stories),
        lives_of=shown_lives,
        again=repeat,
        left_out=Note(album.num_left_out, album.num_damaged),
    )


def shown_lives(story: Story) -> tuple[list[Life], int]:
    """Return the lives of a run that are shown, and how many are not."""
    lives = story.lives
    if len(lives) <= MOST_LIVES:
        return lives, 0
    return lives[:2] + lives[2 - MOST_LIVES :], len(lives) - MOST_LIVES


def repeat(story: Story) -> str:
    """Return the command that does the same run once more, elsewhere."""
    return f"{typed(story.kind, story.folder.config)} --run-dir ANOTHER_FOLDER"
