"""What goes with weights to read: a model card in Markdown, and the card as JSON."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from ssl_swin.pretrained.card import EncoderCard, safetensors_parts
from ssl_swin.pretrained.export.handoff import UNKNOWN, HandOff
from ssl_swin.pretrained.vit_sizes import is_vit

README, CARD, WEIGHTS = "README.md", "card.json", "model.safetensors"


def write_json(path: Path, content: object) -> None:
    """Write JSON to read."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_weights(handed: HandOff, folder: Path, state: Mapping[str, Tensor]) -> None:
    """Write weights as safetensors, with card and licence inside."""
    inside = {"format": "pt", "license": handed.licence, "card": json.dumps(handed.card)}
    with (folder / WEIGHTS).open("wb") as file:
        file.writelines(safetensors_parts(on_cpu(state), inside))


def on_cpu(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return copies that share no memory, as files hold them."""
    copies = ((name, value.detach().cpu()) for name, value in state.items())
    return {name: value.clone(memory_format=torch.contiguous_format) for name, value in copies}


def write_cards(handed: HandOff, folder: Path, text: str) -> None:
    """Write the model card, and the card as JSON."""
    (folder / README).write_text(text, encoding="utf-8")
    write_json(folder / CARD, handed.card)


def model_card(handed: HandOff, library: str, python: str, left_out: str) -> str:
    """Write the model card.

    Args:
        handed: What is handed on.
        library: Whose files they are, as the front matter of a model card calls it.
        python: The lines that open them, in their folder.
        left_out: What the library has no place for; may be empty.
    """
    family = "vit" if is_vit(handed.sizes) else "swin"
    task = "image-classification" if handed.classes else "image-feature-extraction"
    front = [f"license: {handed.licence}", f"library_name: {library}", f"pipeline_tag: {task}"]
    parts = [
        "\n".join(["---", *front, "tags:", f"- {family}", "- simmim", "---"]),
        f"# {handed.name}",
        _what(handed),
        f"## In {library}",
        f"```python\n{python}\n```",
        f"Left out: {left_out}." if left_out else "",
        "## Images",
        _images(handed),
        "## Training",
        " ".join(_training(handed)),
        "## Settings",
        "\n".join(_settings(handed)),
        "## Licence",
        "Nobody has said under which licence these weights are; ask whoever gave them to you."
        if handed.licence == UNKNOWN
        else f"{handed.licence}, as whoever exported the weights said.",
    ]
    if handed.classes:
        parts += [
            "## Classes",
            "\n".join(f"{n}. `{name}`" for n, name in enumerate(handed.classes)),
        ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _what(handed: HandOff) -> str:
    network, (rows, cols) = handed.network, handed.network.img_size
    millions = sum(one.numel() for one in network.parameters()) / 1e6
    gives = f"logits of {len(handed.classes)} classes" if handed.classes else "features"
    return (
        f"{handed.sizes['name']} as {handed.part}, {millions:.1f} million weights, of ssl_swin: "
        f"images of {rows} x {cols} pixels in {network.in_chans} channels -> {gives}, by "
        f"{network.num_features} features, which are the mean over all positions."
    )


def _images(handed: HandOff) -> str:
    card, (rows, cols) = handed.network.card, handed.network.img_size
    resized = f"Resize to {rows} x {cols} pixels, bicubic"
    if handed.resized_px is not None:
        resized = f"Resize the short side to {handed.resized_px} pixels, bicubic"
        resized += f", cut out the centre of {rows} x {cols}"
    mean, std = (", ".join(f"{one:g}" for one in many) for many in (card.mean, card.std))
    scaled = "scale to [0, 1]"
    if card.dtype is not None:
        scaled = f"take the numbers as they are ({card.dtype})"
    told = f"{resized}, {scaled}, subtract the mean ({mean}), divide by ({std})."
    if card.dtype is not None:
        none = "NaN" if card.nodata is None else f"NaN or {card.nodata:g}"
        told += f" Where there is no number ({none}), put the mean first: processors do not."
    if card.channel_names is not None:
        told += f" Channels, in this order: {', '.join(card.channel_names)}."
    return told


def _training(handed: HandOff) -> Iterator[str]:
    card = handed.network.card
    yield f"Taken from: {handed.told}."
    if isinstance(card, EncoderCard) and card.mask_ratio == 0:
        yield "Pretrained on whole images, of which nothing was hidden."
    elif isinstance(card, EncoderCard) and card.mask_ratio is not None:
        yield (
            f"Pretrained by masked image modelling (SimMIM): {card.mask_ratio:.0%} of the patches "
            f"of {card.mask_patch_size} pixels were hidden."
        )
    if card.samples_seen:
        yield (
            f"It has seen {card.samples_seen:,} images, counted with repetition, in {card.epoch} "
            f"whole pass{'' if card.epoch == 1 else 'es'} over its data."
        )
    yield "Which images these were is not on the card: say it here."
    if card.commit:
        yield f"Code: ssl_swin {card.commit}."


def _settings(handed: HandOff) -> Iterator[str]:
    yield "| setting | value |\n|---|---|"
    for name, value in handed.sizes.items():
        yield f"| {name} | {value} |"
