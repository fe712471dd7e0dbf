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
        held_out = VAL if has_tars(folder / TRAIN) else None
        if folder.resolve().name == TRAIN:
            name = folder.resolve().parent.name or name
    else:
        packed, (split, held_out) = Path("shards", name), usual_split(folder)
        create = typed("shards", "create", folder, packed, "--split", split)
        what, first = "is a folder", f"{create}, then: "
    if kind == "finetune":
        finetune = _finetune(packed, name, held_out)
        return f"{folder} {what}, and no config; type: {first}{finetune}"
    config = f"{name}.yaml"
    recipe, pretrain = typed("recipe", packed, "-o", config), typed("pretrain", config)
    return f"{folder} {what}, and no config; type: {first}{recipe}, then: {pretrain}"


def _finetune(packed: Path, name: str, held_out: str | None) -> str:
    words = ["--encoder", f"runs/{name}/pretrain"]
    words += ["--data.shards", str(packed / TRAIN if held_out else packed)]
    words += ["--data.val-shards", str(packed / held_out)] if held_out else []
    return typed("finetune", *words, "--run-dir", f"runs/{name}/finetune")
