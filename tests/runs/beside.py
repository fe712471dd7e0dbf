"""Files that lie beside shards, for tests."""

import json

MEASURED = (0.25, 0.5, 0.75)


def labels_beside(shards):
    """A file of labels for any of the first samples."""
    path = shards / "labels.csv"
    path.write_text("key,label\n" + "".join(f"{n:06d},{n % 10}\n" for n in range(1000)))
    return path


def stats_beside(shards):
    """A file of measured numbers."""
    (shards / "stats.json").write_text(json.dumps({"mean": MEASURED, "std": MEASURED}))
    return str(shards / "stats.json")
