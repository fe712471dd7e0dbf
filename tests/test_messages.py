"""Every message is on record, is one line, and says what is allowed or what to do."""

import re

import pytest

from ssl_swin.errors import MachineError, UserError
from tests.messages import RECORD, as_text, collected, faults

# What is allowed, or what to do: in a word that says so, or in what is put in at that place.
ADVICE = re.compile(
    r"\b(?:it has|it knows|has one|hand over|yourself|"
    r"give|set|use|choose|write|wrote|leave|make|move|rename|mend|run|start|put|try|take|wait|"
    r"fetch|submit|raise|lower|needs|compare|save|must|only|may differ|allow(?:ed|s)|or more|queue|"
    r"once|same command|one of|see|nearest|let|load|bring|repeat|build|copy|say|says|install|pack|"
    r"can be resized|name other|go before|end|belongs|ends|end it|earlier)\b"
    r"|\{[^}]*(?:remedy|advice|nearest|hint|todo|_refusal|_plainly)"
)
HANDED_ON = re.compile(r"\{[^{}]*(?:\{[^{}]*\})?[^{}]*\}")  # made elsewhere, and looked at there
# beginning of a message -> why it says no more
EXCEPTIONS = {
    "images[{place}]{name}: {error}": "the inner message says it",
    "{stopped.partition('. ')[0]}: its own words": "the process that ended itself has said it",
    "{root} is finished": "`submit` says what to give instead",
    "{place}: {error}": "the inner message says it",
    "{path}, {found.naming.kind}: {error}": "the inner message says it",
    "sbatch refused": "SLURM says it",
    "{cannot}: it is damaged": "what is done instead is said by who reads the checkpoint",
    "{path} cannot be read as a checkpoint: {error": "as before",
}


def test_the_record_is_what_the_package_says():
    """So that `git diff` shows what people will read, and all of it is found in one place."""
    how = "messages changed; look at them: python -m tests.messages; git diff tests/messages.txt"
    assert as_text(collected()) == RECORD.read_text("utf-8"), how


def test_each_is_one_line_that_says_what_is_allowed_or_what_to_do():
    silent, excused = [], set()
    for path, templates in collected().items():
        for one in templates:
            assert faults(one) == [], f"{path}: {one}"
            excuse = [begin for begin in EXCEPTIONS if one.startswith(begin)]
            if ADVICE.search(one) or HANDED_ON.fullmatch(one):
                continue
            excused |= set(excuse)
            silent += [] if excuse else [f"{path}: {one}"]
    assert silent == []
    assert excused == set(EXCEPTIONS), "an exception that is no longer needed"


@pytest.mark.parametrize(
    ("message", "found"),
    [
        ("a=1 is wrong; give 2", []),
        ("a\nb", ["more than one line"]),
        ("PosixPath('a') and <class 'int'>", ["PosixPath(", "<class "]),
        ("cannot identify image file <_io.BytesIO object at 0x7f>", ["<_io.", "object at 0x"]),
    ],
)
def test_what_python_says_of_its_own_things_is_a_fault(message, found):
    assert faults(message) == found


@pytest.mark.parametrize("kind", [UserError, MachineError])
def test_messages_that_tests_provoke_are_looked_at(kind, provoked):
    """By the fixture that every test has."""
    kind("one line")
    assert provoked == []
    kind("two\nlines")
    assert provoked == [
        "UserError: two\nlines" if kind is UserError else "MachineError: two\nlines"
    ]
    provoked.clear()
