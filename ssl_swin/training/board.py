"""TensorBoard: a run folder's curves, pictures, config and lives, as event files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import metadata as hparams
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionStartInfo
from tensorboard.plugins.image import metadata as images
from tensorboard.plugins.scalar import metadata as scalars
from torch.utils.tensorboard import FileWriter, summary

from ssl_swin.record.lives import lives_as_table
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.record.tags import HELDOUT, HPARAMS, TRAIN, Tag, charts_of, shown


class Board(Logger):
    """Writes event files into `RUN/train` and `RUN/held-out`, which TensorBoard shows as two runs.

    Of older points it hides those after `start_step`. A run that release 0.1 began goes on in its
    one folder, under the names it began with, so that its curves stay whole.
    """

    name, version = "tensorboard", ""

    def __init__(self, folder: RunFolder, start_step: int) -> None:
        super().__init__()
        self.folder, self.start_step = folder, start_step
        self.is_earlier = any(folder.tensorboard.glob("events.out.*"))
        self._writers: dict[str, FileWriter] = {}
        self._tags: set[str] = set()  # that have had a point in this life
        self._charts: dict[str, dict[str, list[str]]] = {}  # as they are laid out

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the first point brings the config, when the folder is this life's."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Write points, each where the table of tags says."""
        if self.is_earlier:
            points = [(Tag(TRAIN, name, ""), value) for name, value in metrics.items()]
        else:
            points = shown(metrics)
        for run in (TRAIN, HELDOUT):
            values = [_scalar(tag, value) for tag, value in points if tag.run == run]
            if values:
                self._writer(run).add_summary(Summary(value=values), step)
        if not self.is_earlier:
            self._lay_out({tag.name for tag, _ in points}, step)

    @rank_zero_only
    def show(self, name: str, png: bytes, size: tuple[int, int], step: int, about: str) -> None:
        """Write a picture, given as a PNG file of a width and height in pixels, and what it is."""
        picture = Summary.Image(
            width=size[0], height=size[1], colorspace=3, encoded_image_string=png
        )
        value = Summary.Value(
            tag=name, image=picture, metadata=images.create_summary_metadata(name, about)
        )
        self._writer(TRAIN).add_summary(Summary(value=[value]), step)

    @property
    def place(self) -> Path:
        """The folder of the run with the curves of training."""
        return self.folder.tensorboard if self.is_earlier else self.folder.train

    def finalize(self, status: str) -> None:
        """Close the files."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()

    def _lay_out(self, tags: set[str], step: int | None) -> None:
        """Lay out the charts again if there is a first curve for one; the last layout counts."""
        if tags <= self._tags:
            return
        self._tags |= tags
        if (charts := charts_of(self._tags)) != self._charts:
            self._charts = charts
            layout = {
                group: {title: ["Multiline", patterns] for title, patterns in of_group.items()}
                for group, of_group in charts.items()
            }
            self._writer(TRAIN).add_summary(summary.custom_scalars(layout), step)

    def _writer(self, run: str) -> FileWriter:
        """Return the writer of a run, which is made when it has its first point."""
        if run not in self._writers:
            place = self.folder.heldout if run == HELDOUT and not self.is_earlier else self.place
            place.mkdir(exist_ok=True)  # in a run folder that is there
            writer = self._writers[run] = FileWriter(str(place))
            hides = Event(session_log=SessionLog(status=SessionLog.START))
            writer.add_event(hides, self.start_step + 1)
            if not self.is_earlier:
                self._tell(writer, run)
        return self._writers[run]

    def _tell(self, writer: FileWriter, run: str) -> None:
        """Write what belongs to a life: its config, the lives before, what it is compared by."""
        path, step = self.folder.config, self.start_step
        config = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
        if run == TRAIN:
            text = yaml.dump(config, Dumper=_Short, sort_keys=False)
            writer.add_summary(summary.text("config", f"```\n{text}```"), step)
            writer.add_summary(summary.text("lives", lives_as_table(self.folder)), step)
        if run == (HELDOUT if config.get("data", {}).get("val_shards") else TRAIN):
            writer.add_summary(_session(config), step)


class _Short(yaml.SafeDumper):
    """YAML with each list in a line."""


_Short.add_representer(
    list,
    lambda dumper, value: dumper.represent_sequence(
        "tag:yaml.org,2002:seq", value, flow_style=not any(isinstance(x, dict) for x in value)
    ),
)


def _scalar(tag: Tag, value: float) -> Summary.Value:
    about = scalars.create_summary_metadata(tag.name, tag.description)
    return Summary.Value(tag=tag.name, simple_value=value, metadata=about)


def _session(config: Mapping[str, Any]) -> Summary:
    """Return a row of the tab HParams: settings; the tab puts the last points beside them."""
    session = SessionStartInfo()
    for name in HPARAMS:
        value: Any = config
        for part in name.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        if value is not None:
            cell, is_number = session.hparams[name], isinstance(value, int | float)
            given = {"number_value": value} if is_number else {"string_value": str(value)}
            cell.MergeFrom(type(cell)(**given))
    about = hparams.create_summary_metadata(HParamsPluginData(session_start_info=session))
    tag = hparams.SESSION_START_INFO_TAG
    return Summary(value=[Summary.Value(tag=tag, metadata=about, tensor=hparams.NULL_TENSOR)])
