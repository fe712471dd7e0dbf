"""The rules of the house: configs and links hold, and every module of the package is in order."""

import ast
import importlib
import io
import re
import sys
import tokenize
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

from ssl_swin.__main__ import COMMANDS
from ssl_swin.command_line import read_config

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
MOST_LINES_OF_A_FILE, MOST_LINES_OF_A_FUNCTION, MOST_PARAMETERS = 299, 49, 6
DUMPING_GROUNDS = "base|common|functions|general|helpers?|lib|misc|other|shared|stuff|tools|utils?"
NO_NOUNS = "Dealt|Failed|Followed|Normalise|Partial|Placed|Prepared|Regularise|Wanted"

# rule -> what offends -> why it may. An exception that is no longer needed fails the test.
EXCEPTIONS: dict[str, dict[str, str]] = {
    "files_are_short": {},
    "functions_are_short": {},
    "functions_have_few_parameters": {},
    "late_imports_say_why": {},
    "every_module_has_a_test_file": {},
    "no_import_is_for_type_checkers_only": {
        "ssl_swin/__init__.py": "names are looked up when they are asked for; checkers see them so"
    },
}


def name_of(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", YAMLS, ids=name_of)
def test_every_config_parses_and_has_no_unknown_key(path):
    read_config(path.parent.name, [str(path)])


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_relative_link_leads_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    relative = [t.partition("#")[0] for t in targets if not re.match(r"[a-z]+:|#", t)]
    assert [t for t in relative if not (page.parent / t).exists()] == []


@dataclass(frozen=True)
class Module:
    """One file of the package."""

    path: str
    """From the root of the repository."""
    text: str

    @cached_property
    def tree(self):
        return ast.parse(self.text)

    @cached_property
    def functions(self):
        """Each function under its name, with the classes and functions around it."""
        return list(functions_in(self.tree))


def functions_in(node, prefix=""):
    for child in ast.iter_child_nodes(node):
        name = prefix
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            name = f"{prefix}{child.name}."
            if not isinstance(child, ast.ClassDef):
                yield name[:-1], child
        yield from functions_in(child, name)


def modules_of(*folders):
    return [
        Module(name_of(path), path.read_text(encoding="utf-8"))
        for folder in folders
        for path in sorted(ROOT.glob(f"{folder}/**/*.py"))
    ]


MODULES = modules_of("ssl_swin")


# Each rule yields what offends in a module, and how. The first holds for tests and benchmarks, too.


def files_are_short(module):
    num_lines = len(module.text.splitlines())
    if num_lines > MOST_LINES_OF_A_FILE:
        yield module.path, f"{num_lines} lines"


def files_begin_with_what_they_are_for(module):
    if not re.match(r'""".+[.:"]$', module.text.partition("\n")[0]):
        yield module.path, "no docstring in the first line"


def functions_are_short(module):
    for name, function in module.functions:
        num_lines = function.end_lineno - function.lineno + 1
        if num_lines > MOST_LINES_OF_A_FUNCTION:
            yield f"{module.path}:{name}", f"{num_lines} lines"


def functions_have_few_parameters(module):
    commands = {function for place, function, _ in COMMANDS.values() if place == dotted(module)}
    for name, function in module.functions:
        given = function.args
        found = [*given.posonlyargs, *given.args, given.vararg, *given.kwonlyargs, given.kwarg]
        names = [one.arg for one in found if one is not None and one.arg not in ("self", "cls")]
        is_kernel = "triton.jit" in " ".join(map(ast.unparse, function.decorator_list))
        if len(names) > MOST_PARAMETERS and name not in commands and not is_kernel:
            yield f"{module.path}:{name}", f"{len(names)} parameters"


def dotted(module):
    return module.path.removesuffix(".py").replace("/", ".")


def folders_are_two_deep(module):
    folders = module.path.split("/")[1:-1]
    if len(folders) > 2:
        yield module.path, f"{len(folders)} folders deep"


def no_import_is_for_type_checkers_only(module):
    for node in ast.walk(module.tree):
        if "TYPE_CHECKING" in (getattr(node, "id", None), getattr(node, "attr", None)):
            yield module.path, "TYPE_CHECKING"


def late_imports_say_why(module):
    """A comment stands on the line of the import, or before it and the imports above it."""
    tokens = tokenize.generate_tokens(io.StringIO(module.text).readline)
    notes = [token for token in tokens if token.type == tokenize.COMMENT]
    whys = {note.start[0] for note in notes if not re.match(r"#\s*(noqa|type:)", note.string)}
    alone = {line for line in whys if module.text.splitlines()[line - 1].lstrip().startswith("#")}
    imports = {
        node: name
        for name, function in module.functions
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom) and foreign(node)
    }
    for node in sorted(imports, key=lambda node: node.lineno):
        if node.lineno - 1 in alone or whys & {*range(node.lineno, node.end_lineno + 1)}:
            alone.add(node.end_lineno)
        else:
            yield f"{module.path}:{imports[node]}", f"{ast.unparse(node)!r} does not say why"


def foreign(node):
    """Whether an import is of this package or of a third party's."""
    named = node.names[0].name if isinstance(node, ast.Import) else node.module or ""
    return named.partition(".")[0] not in sys.stdlib_module_names


def no_file_is_a_dumping_ground(module):
    for word in module.path.removesuffix(".py").split("/"):
        if re.fullmatch(DUMPING_GROUNDS, word.strip("_")):
            yield module.path, f"{word} says nothing"


def every_module_has_a_test_file(module):
    path = Path(module.path)
    mirror = Path("tests", *path.parts[1:-1], f"test_{path.stem.strip('_')}.py")
    if path.stem != "__init__" and not (ROOT / mirror).is_file():
        yield module.path, f"no {mirror}"


def classes_are_nouns(module):
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ClassDef) and re.fullmatch(NO_NOUNS, node.name.lstrip("_")):
            yield f"{module.path}:{node.name}", "no noun"


TOO_LONG = "def f():\n" + "    pass\n" * MOST_LINES_OF_A_FUNCTION
OFFENDERS = {  # rule -> a module that breaks it, and one that just does not
    files_are_short: ("\n" * 300, "\n" * 299),
    files_begin_with_what_they_are_for: ("import os\n", '"""Does one thing."""\n'),
    functions_are_short: (TOO_LONG, TOO_LONG.removesuffix("    pass\n")),
    functions_have_few_parameters: (
        "class A:\n def f(self, a, /, b, *c, d, e=1, f=2, **g): ...",
        "class A:\n def f(self, a, b, c, d, e, f): ...",
    ),
    no_import_is_for_type_checkers_only: ("import typing\nif typing.TYPE_CHECKING: ...", "a = 1"),
    late_imports_say_why: (
        "def f():\n    import json\n    import torch  # noqa\n    a = 1  # one\n    import numpy",
        "def f():\n    # seconds to import\n    import torch\n    import numpy\n"
        "def g():\n    if f:\n        from torch import (  # slow\n            nn,\n        )\n",
    ),
    classes_are_nouns: ("class _Placed: ...", "class Place: ..."),
}
BY_PATH = {
    folders_are_two_deep: ("ssl_swin/a/b/c/d.py", "ssl_swin/a/b/c.py"),
    no_file_is_a_dumping_ground: ("ssl_swin/data/utils.py", "ssl_swin/shard_tools/info.py"),
    every_module_has_a_test_file: ("ssl_swin/nothing.py", "ssl_swin/__main__.py"),
}
RULES = [*OFFENDERS, *BY_PATH]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_module_keeps_the_rule(rule):
    excepted = EXCEPTIONS.get(rule.__name__, {})
    modules = MODULES + (modules_of("benchmarks", "tests") if rule is files_are_short else [])
    found = [offence for module in modules for offence in rule(module)]
    broken = [f"{name}: {how}" for name, how in found if name not in excepted]
    needless = excepted.keys() - dict(found)
    assert not broken, "\n".join([rule.__name__, *broken])
    assert not needless, f"{rule.__name__}: these exceptions are no longer needed: {needless}"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_rule_finds_what_breaks_it_and_nothing_else(rule):
    if rule in BY_PATH:
        broken, kept = (Module(path, "") for path in BY_PATH[rule])
    else:
        broken, kept = (Module("ssl_swin/a.py", text) for text in OFFENDERS[rule])
    assert len(list(rule(broken))) == (2 if rule is late_imports_say_why else 1)
    assert list(rule(kept)) == []


def test_exceptions_are_of_rules_that_there_are():
    assert EXCEPTIONS.keys() <= {rule.__name__ for rule in RULES}


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.path)
def test_every_module_can_be_imported(module):
    if "import triton\n" in module.text and sys.platform != "linux":
        pytest.skip("Triton is for Linux")
    importlib.import_module(dotted(module).removesuffix(".__init__"))


DESIGN = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")


def python_files_in(text):
    """Names in backticks that end in .py; a bare one is in the folder of the one before it."""
    found, folder = set(), ""
    for name in re.findall(r"`([\w/]+\.py)`", text):
        folder = name.rpartition("/")[0] if "/" in name else folder
        found |= {name, f"{folder}/{name}".lstrip("/")}
    return found


def test_the_design_page_names_every_module_and_nothing_else():
    inside = {module.path.removeprefix("ssl_swin/") for module in MODULES}
    named = python_files_in(DESIGN)
    assert {path for path in inside if not path.endswith("__init__.py")} - named == set()
    outside = {path.name for path in ROOT.glob("*/**/*.py")}
    assert {name for name in named if name.rpartition("/")[2] not in outside} == set()


def removes(module):
    """Whether a module deletes, cuts short or overwrites files."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            name = node.func.attr
            if name in ("unlink", "rmtree", "rmdir", "truncate", "ftruncate"):
                return True
            if name in ("replace", "rename") and (
                len(node.args) == 1 or ast.unparse(node.func.value) == "os"
            ):
                return True
            if name == "open" and node.args and ast.unparse(node.args[0])[1:2] == "w":
                return True
            if name in ("write_text", "write_bytes") or (name == "save" and len(node.args) == 1):
                return True
    return False


def test_the_design_page_names_every_file_that_can_delete_data():
    section = DESIGN.partition("## What can delete data")[2].partition("\n## ")[0]
    rows = "".join(line.split("|")[1] for line in section.splitlines() if line.startswith("|"))
    named = {name for name in python_files_in(rows) if (ROOT / "ssl_swin" / name).exists()}
    found = {module.path.removeprefix("ssl_swin/") for module in MODULES if removes(module)}
    assert found == named
