"""`ssl-swin export`: a run's weights as files that other libraries open."""

from pathlib import Path
from typing import Literal

from ssl_swin.errors import UserError, usable
from ssl_swin.files import new_folder
from ssl_swin.phases import Phase
from ssl_swin.pretrained.export.card import model_card, write_cards
from ssl_swin.pretrained.export.formats import Format, fitting
from ssl_swin.pretrained.export.handoff import UNKNOWN, HandOff, Part, open_handoff
from ssl_swin.pretrained.named import place_of
from ssl_swin.record.run_folder import RunFolder

Name = Literal["timm", "hf", "torchvision", "official", "onnx", "torchscript", "safetensors"]


def export(
    source: str,
    *,
    format: Name,
    output: Path | None = None,
    part: Part | None = None,
    license: str = UNKNOWN,
) -> None:
    """Write an encoder or a classifier as files that another library opens.

    They are weights, settings, how images are made ready, and a README.md that is a model card, in
    a folder of their own. Features are those of this library, but for rounding.

    Args:
        source: A run folder, ended or not; a file with an encoder or a classifier, also of timm or
            the official code; or a name of timm's weights.
        format: timm; hf, which is transformers; torchvision; official, a checkpoint of the Swin and
            SimMIM code; onnx; torchscript; or safetensors, which is this library's own.
        output: The folder, which must be new or empty. Left out, it is exports/FORMAT in a run
            folder, or NAME-FORMAT beside a file.
        part: encoder or classifier. Left out, the classifier where there is one.
        license: Of the weights, for the model card: a word of SPDX's list, such as mit.

    Raises:
        UserError: If there are no weights, the format cannot express them, or the folder holds
            something.
        MachineError or OSError: If the storage fails.
    """
    folder = output or usual_folder(source, format)
    check_free(folder)
    handed = open_handoff(source, part, license)
    chosen = fitting(format, handed)
    with Phase("writing the files"), usable(f"output={folder}"), new_folder(folder) as making:
        chosen.write(handed, making)
        told = model_card(handed, chosen.library, chosen.python(handed, "."), chosen.left_out)
        write_cards(handed, making, told)
    print(_ending(handed, chosen, folder))


def usual_folder(source: str, name: str) -> Path:
    """Return where files of a format go if nobody says."""
    path = place_of(source)
    if path.is_dir():
        return RunFolder(path).exported(name)
    stem = path.stem if path.is_file() else path.name
    return path.with_name(f"{stem}-{name}")


def check_free(folder: Path) -> None:
    """Refuse a folder that holds something, or is none.

    Raises:
        UserError: If it does, or cannot be looked into.
    """
    with usable(f"output={folder}"):
        if folder.exists() and any(folder.iterdir()):
            raise UserError(
                f"output={folder} holds something; give another folder, or move it away"
            )


def _ending(handed: HandOff, chosen: Format, folder: Path) -> str:
    """Say what was written, and what to type in the other library."""
    sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    lines = [
        f"{folder}: {', '.join(sizes)}, {sum(sizes.values()) / 1e6:.1f} MB",
        f"they are of {handed.told}",
    ]
    if chosen.left_out:
        lines.append(f"left out: {chosen.left_out}")
    lines.append(f"next, in Python with {chosen.library}:")
    lines += [f"  {line}" for line in chosen.python(handed, str(folder)).splitlines() if line]
    return "\n".join(lines)
