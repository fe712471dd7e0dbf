"""What a person asks of frozen features, beside networks and sets."""

from dataclasses import dataclass
from pathlib import Path

from ssl_swin.data.labelling.attach import Asked
from ssl_swin.features.layers import LAST
from ssl_swin.features.subjects import check_asked


@dataclass(frozen=True)
class Asking:
    """What is asked of frozen features, and of which images."""

    layer: str = LAST
    """last, pooled, stage1, stage2 and so on, or a module by its dotted name."""
    measures: tuple[str, ...] = ()
    """knn, probe, few_labels, collapse, or several with commas; left out, all."""
    img_size: int | None = None
    """Height and width of images in pixels, if not those of the weights."""
    seed: int = 0
    """Of random weights, of labels that are drawn, of images that are held out or shown."""
    devices: int = 1
    """Processes on this machine that extract features, each with a GPU of its own if it can."""
    label_field: str = "label"
    """Field of the .json member that holds the class, as `data.label_field`."""
    labels: str | None = None
    """CSV or Parquet of keys and labels, for shards without labels, as `data.labels`."""
    cache_dir: Path | None = None
    """Where remote shards, indexes and features go; left out, the user's cache."""

    @property
    def asked_labels(self) -> Asked:
        """Which labels."""
        return Asked(field=self.label_field, file=self.labels)

    def __post_init__(self) -> None:
        check_asked(self.seed, self.img_size)
