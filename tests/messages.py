"""The messages of the package: collected from its source, and what each must be like.

`python -m tests.messages` writes the record anew, for `git diff` to show what changed.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "ssl_swin"
RECORD = Path(__file__).with_name("messages.txt")
ROOTS = {"UserError", "MachineError"}  # of the classes whose text is one line for a person
DOORS = {"require": 1, "_fail": 0}  # functions that take a message -> as which argument

# What Python says of its own things is no message.
PYTHONS_OWN = r"Traceback|PosixPath\(|<_io\.|<class |object at 0x|<bound method|<function "


def collected() -> dict[str, list[str]]:
    """Return the templates of each file of the package: literal text, and {code} for the rest."""
    trees = {
        path.relative_to(ROOT).as_posix(): ast.parse(path.read_text("utf-8"))
        for path in sorted(PACKAGE.rglob("*.py"))
    }
    kinds = _kinds(trees.values())
    found = {path: sorted({*_templates(tree, kinds)}) for path, tree in trees.items()}
    return {path: templates for path, templates in found.items() if templates}


def as_text(found: dict[str, list[str]]) -> str:
    """Write them down: a file, and each of its messages on a line of its own."""
    parts = (f"{path}\n" + "".join(f"  {one}\n" for one in found[path]) for path in found)
    return "\n".join(parts)


def faults(message: str) -> list[str]:
    """Return what is wrong with a message as a person would see it."""
    found = [] if message.count("\n") == 0 else ["more than one line"]
    return found + re.findall(PYTHONS_OWN, message)


def _kinds(trees) -> set[str]:
    classes = [one for tree in trees for one in ast.walk(tree) if isinstance(one, ast.ClassDef)]
    kinds, before = set(ROOTS), 0
    while len(kinds) > before:
        before = len(kinds)
        kinds |= {c.name for c in classes if kinds & {ast.unparse(base) for base in c.bases}}
    return kinds


def _templates(tree: ast.Module, kinds: set[str]) -> Iterator[str]:
    functions = [one for one in ast.walk(tree) if isinstance(one, ast.FunctionDef)]
    everywhere, inside = _assigned(tree.body), set()
    for scope in [*functions, tree]:  # inner ones go last
        names = everywhere | _assigned(ast.walk(scope)) if scope is not tree else everywhere
        for call in ast.walk(scope):
            if isinstance(call, ast.Call) and id(call) not in inside:
                inside.add(id(call))
                name = ast.unparse(call.func).rpartition(".")[2]
                place = 0 if name in kinds else DOORS.get(name, len(call.args))
                if place < len(call.args):
                    yield _text(call.args[place], names)


def _assigned(nodes) -> dict[str, ast.expr]:
    """Return what each name that is assigned once stands for."""
    found: dict[str, list[ast.expr]] = {}
    for node in nodes:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found.setdefault(node.targets[0].id, []).append(node.value)
    return {name: values[0] for name, values in found.items() if len(values) == 1}


def _text(node: ast.expr, names: dict[str, ast.expr]) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part, names) for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _text(node.left, names) + _text(node.right, names)
    if isinstance(node, ast.FormattedValue):
        if isinstance(node.value, ast.Name | ast.JoinedStr) and node.conversion == -1:
            return _text(node.value, names)
        return f"{{{ast.unparse(node.value)}}}"
    if isinstance(node, ast.Name) and isinstance(
        said := names.get(node.id), ast.Constant | ast.JoinedStr | ast.BinOp
    ):
        return _text(said, {})
    return f"{{{ast.unparse(node)}}}"


if __name__ == "__main__":
    RECORD.write_text(as_text(collected()), "utf-8")
