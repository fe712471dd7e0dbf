import importlib
import re
from pathlib import Path

import pytest

from ssl_swin.__main__ import CONFIGS, _parser

ROOT = Path(__file__).parents[1]
YAMLS = sorted(ROOT.glob("configs/*/*.yaml"))
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("data/**/*.md"),
        *ROOT.glob("slurm/*.md"),
    ]
)


def name_of(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", YAMLS, ids=name_of)
def test_every_config_parses_and_has_no_unknown_key(path):
    from ssl_swin import config

    parser = _parser(path.parent.name)
    parser.add_class_arguments(getattr(config, CONFIGS[path.parent.name]))
    parser.instantiate(parser.parse_path(path))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_relative_link_leads_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    relative = [t.partition("#")[0] for t in targets if not re.match(r"[a-z]+:|#", t)]
    assert [t for t in relative if not (page.parent / t).exists()] == []


@pytest.mark.parametrize("path", sorted(ROOT.glob("ssl_swin/**/*.py")), ids=name_of)
def test_every_module_can_be_imported(path):
    importlib.import_module(name_of(path.with_suffix("")).replace("/", "."))


@pytest.mark.parametrize("path", sorted(ROOT.glob("ssl_swin/**/*.py")), ids=name_of)
def test_files_stay_short_and_begin_with_what_they_are_for(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) < 400
    assert re.match(r'""".+[.:"]', lines[0])
