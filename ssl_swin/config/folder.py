"""A folder where the name of a config was to be: what it holds, and what to type instead."""

from pathlib import Path

from ssl_swin.data.shards.names import TRAIN, VAL, has_tars, usual_split
from ssl_swin.typed import typed


def instead_of_folder(kind: str, folder: Path) -> str:
    """Say in one line what to type in place of `ssl-swin KIND FOLDER`."""
    name = folder.resolve().name or "mine"
    if (folder / "config.yaml").is_file():
        going_on = typed(kind, folder / "config.yaml")
        return f"{folder} is the folder of a run, not a config; to go on, type: {going_on}"
    if has_tars(folder) or has_tars(folder / TRAIN):
        what, first, packed = "holds shards", "", folder
        if folder.resolve().name == TRAIN:
            name = folder.resolve().parent.name or name
    else:
        packed = Path("shards", name)
        create = typed("shards", "create", folder, packed, "--split", usual_split(folder))
        what, first = "is a folder", f"{create}, then: "
    if kind == "finetune":
        return (
            f"{folder} {what}, and no config; type: {first}{_finetune(packed, name, bool(first))}"
        )
    config = f"{name}.yaml"
    recipe, pretrain = typed("recipe", packed, "-o", config), typed("pretrain", config)
    return f"{folder} {what}, and no config; type: {first}{recipe}, then: {pretrain}"


def _finetune(packed: Path, name: str, is_split: bool) -> str:
    is_split = is_split or has_tars(packed / TRAIN)
    words = ["--encoder", f"runs/{name}/pretrain"]
    words += ["--data.shards", str(packed / TRAIN if is_split else packed)]
    words += ["--data.val-shards", str(packed / VAL)] if is_split else []
    return typed("finetune", *words, "--run-dir", f"runs/{name}/finetune")
