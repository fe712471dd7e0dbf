"""Packs a clone of the clothing data set: photographs of clothes, split by who took them.

    git clone https://github.com/alexeygrigorev/clothing-dataset    (CC0, by Alexey Grigorev)
    python data/clothing.py clothing-dataset --out FOLDER

`FOLDER/train/train-*.tar` and `FOLDER/test` have labels of 14 classes; `FOLDER/train/extra-*.tar`
has none: what else the people of `train` took, for pretraining. So no room or camera is on both
sides. The draw of people depends on the seed only; broken and repeated files are left out.
"""

import argparse
import csv
import hashlib
import os
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from ssl_swin.__main__ import run
from ssl_swin.data.shards.indexing import index_shards

CLASSES = (
    *("Blazer", "Dress", "Hat", "Hoodie", "Longsleeve", "Outwear", "Pants"),
    *("Polo", "Shirt", "Shoes", "Shorts", "Skirt", "T-Shirt", "Undershirt"),
)
TEST_SHARE = 0.15  # of labelled photographs, at least
SHORT_SIDE = 192  # pixels
Row = dict[str, str]  # of images.csv: image, sender_id, label, kids


def read_rows(clone: Path) -> list[Row]:
    """Return what is known of each photograph.

    Raises:
        ValueError: If the folder is no clone of the data set.
    """
    path = clone / "images.csv"
    if not path.is_file() or not (clone / "images").is_dir():
        raise ValueError(f"{clone} has no images.csv or no images/; give a clone of the data set")
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def people_of_test(rows: Iterable[Row], seed: int) -> set[str]:
    """Draw people, one by one, until they have taken enough of the labelled photographs."""
    counts = Counter(row["sender_id"] for row in rows if row["label"] in CLASSES)
    drawn = sorted(counts, key=lambda person: hashlib.sha256(f"{seed} {person}".encode()).digest())
    chosen: set[str] = set()
    num = 0
    while num < TEST_SHARE * counts.total():
        chosen.add(person := drawn[len(chosen)])
        num += counts[person]
    return chosen


def unlike(images: Path, rows: Iterable[Row], others: Iterable[Row]) -> list[Row]:
    """Return the rows whose file is there and has not the bytes of one of the others."""
    paths = [images / f"{row['image']}.jpg" for row in others]
    seen = {hashlib.sha256(path.read_bytes()).digest() for path in paths if path.is_file()}
    kept = []
    for row in rows:
        path = images / f"{row['image']}.jpg"
        if path.is_file() and hashlib.sha256(path.read_bytes()).digest() not in seen:
            kept.append(row)
    return kept


def write_list(path: Path, rows: Iterable[Row], test: set[str]) -> None:
    """Write which file is of which class and set."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "label", "split"))
        for row in rows:
            part = "test" if row["sender_id"] in test else "train"
            writer.writerow((f"{row['image']}.jpg", row["label"], part))


def pack(clone: Path, out: Path, seed: int) -> None:
    """Write both sets; the same call goes on where it was stopped.

    Raises:
        ValueError: If the folder is no clone of the data set.
        SystemExit: If packing ended with another status than 0.
    """
    rows = read_rows(clone)
    test = people_of_test(rows, seed)
    labelled = [row for row in rows if row["label"] in CLASSES]
    extra = [row for row in rows if row["label"] not in CLASSES and row["sender_id"] not in test]
    out.mkdir(parents=True, exist_ok=True)
    write_list(out / "labelled.csv", labelled, test)
    write_list(out / "extra.csv", unlike(clone / "images", extra, labelled), test)
    _create(clone, out, ("--csv", str(out / "labelled.csv"), "--split", "split"))
    words = ("--csv", str(out / "extra.csv"), "--unlabelled", "--prefix", "extra")
    _create(clone, out / "extra", words)
    for path in sorted((out / "extra").glob("extra-*.tar")):
        if not (place := out / "train" / path.name).exists():
            os.link(path, place)
    index_shards(sorted((out / "train").glob("*.tar")))


def _create(clone: Path, out: Path, words: Sequence[str]) -> None:
    usual = ("--short-side", str(SHORT_SIDE), "--dedup", "exact", "--samples-per-shard", "500")
    more = ("--max-bad-share", "0.05", *words)
    if status := run(["shards", "create", str(clone / "images"), str(out), *usual, *more]):
        raise SystemExit(status)


def main() -> None:
    """Read the command line and pack."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clone", type=Path, help="folder with images.csv and images/")
    parser.add_argument("--out", type=Path, required=True, help="folder for train/ and test/")
    parser.add_argument("--seed", type=int, default=0, help="of the draw, a whole number")
    given = parser.parse_args()
    try:
        pack(given.clone, given.out, given.seed)
    except ValueError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
