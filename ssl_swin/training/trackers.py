"""The trackers of others that a run may be sent to, as Lightning's loggers reach them."""

import importlib
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from pytorch_lightning.loggers import MLFlowLogger, WandbLogger

from ssl_swin import signals
from ssl_swin.errors import UserError
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.record.tracking import Sent

PROJECT = "ssl-swin"  # WANDB_PROJECT and MLFLOW_EXPERIMENT_NAME name another
GIVES_UP_S = 10  # an answer, or the end of an upload, is waited for so long


class Tracker(Protocol):
    """Where points of a run go beside its folder. All but `prepare` may wait for a network."""

    def prepare(self, folder: RunFolder) -> None:
        """Import what is needed, in the main thread; refuse what the user must mend."""

    def open(self, folder: RunFolder, sent: Sent, kind: str, config: Mapping[str, Any]) -> str:
        """Open the run of this id, or go on with it; return where it is."""

    def log(self, points: Mapping[str, float], step: int) -> None:
        """Send points."""

    def end(self, status: str, found: Mapping[str, float], step: int) -> None:
        """Send what was found, and how this life ended: `finished`, `stopped` or `failed`."""

    def drop(self) -> None:
        """Let go of what waits for a network; `open` may be tried again."""


class Wandb:
    """Weights & Biases: WANDB_MODE, WANDB_PROJECT, WANDB_ENTITY and so on say where and how."""

    def prepare(self, folder: RunFolder) -> None:
        """Look for the key; nobody is asked to type one, and no server whether it is right."""
        for name in ("CACHE", "DATA"):  # else they are in the user's home
            os.environ.setdefault(f"WANDB_{name}_DIR", str(folder.root.absolute() / "wandb"))
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        os.environ.setdefault("WANDB_SILENT", "true")
        self.wandb: Any = importlib.import_module("wandb")
        settings = self.wandb.setup().settings
        given = [os.environ.get(f"WANDB_{name}") for name in ("API_KEY", "IDENTITY_TOKEN_FILE")]
        stored = importlib.import_module("requests.utils").get_netrc_auth(settings.base_url)
        if settings.mode in ("online", "shared") and not any([*given, stored]):
            raise UserError(
                "training.loggers names wandb, which has no key here: wandb login, or set "
                "WANDB_API_KEY, or WANDB_MODE=offline (wandb sync sends such runs later)"
            )

    def open(self, folder: RunFolder, sent: Sent, kind: str, config: Mapping[str, Any]) -> str:
        """Go on at the step that the server has: what it never got of a killed life is sent."""
        settings = self.wandb.Settings(
            console="off",
            init_timeout=3 * GIVES_UP_S,
            finish_timeout=GIVES_UP_S,
            finish_timeout_raises=True,  # else what it lacks would count as sent
        )
        self.logger = WandbLogger(
            name=called(folder),
            save_dir=os.environ.get("WANDB_DIR", folder.root.absolute()),
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            version=sent.id,
            job_type=kind,
            settings=settings,
        )
        run = self.logger.experiment
        if not run.offline:
            has = run.summary.get("trainer/global_step", -1) if run.resumed else -1
            sent.forget_after(int(has))
        self.logger.log_hyperparams({"kind": kind, **config})
        return run.url or run.dir

    def log(self, points: Mapping[str, float], step: int) -> None:
        """Hand points to wandb's own process, which sends them; the axis is `trainer/global_step`.

        It also writes them below `RUN/wandb`.
        """
        self.logger.log_metrics(points, step)

    def end(self, status: str, found: Mapping[str, float], step: int) -> None:
        """Put what was found into the summary; a stopped run is one that was preempted."""
        run = self.logger.experiment
        run.summary.update(found)
        if status == "stopped":
            run.mark_preempting()
        run.finish(exit_code=int(status == "failed"))

    def drop(self) -> None:
        """End wandb's own process, or this one would wait for it as it leaves; the files stay."""
        for child in signals.children():
            with suppress(OSError):  # it may have ended
                if Path(f"/proc/{child}/comm").read_text().startswith("wandb-core"):
                    os.kill(child, signal.SIGKILL)
        with suppress(Exception):  # whatever it says of that: it forgets the process
            self.wandb.teardown()


class Mlflow:
    """MLflow: MLFLOW_TRACKING_URI says where, else it is a folder of the run folder."""

    def prepare(self, folder: RunFolder) -> None:
        """Let it give up soon, for we ask again, and tell nobody of its use."""
        for name, value in (
            ("HTTP_REQUEST_TIMEOUT", GIVES_UP_S),
            ("HTTP_REQUEST_MAX_RETRIES", 1),
            ("DISABLE_TELEMETRY", "true"),
            ("ALLOW_FILE_STORE", "true"),  # since 3.17 a folder is refused without it
        ):
            os.environ.setdefault(f"MLFLOW_{name}", str(value))
        self.client_of: Any = importlib.import_module("mlflow").MlflowClient

    def open(self, folder: RunFolder, sent: Sent, kind: str, config: Mapping[str, Any]) -> str:
        """Find the run by a tag that holds the id: who was killed while it was made leaves one."""
        given = os.environ.get("MLFLOW_TRACKING_URI")
        uri = given or (folder.root.absolute() / "mlruns").as_uri()
        experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        self.client = self.client_of(uri)
        place = self.client.get_experiment_by_name(experiment)
        group = place.experiment_id if place else self.client.create_experiment(experiment)
        known = self.client.search_runs([group], f"tags.`ssl_swin.id` = '{sent.id}'")
        logger = self.logger = MLFlowLogger(
            experiment,
            called(folder),
            uri,
            tags={"ssl_swin.id": sent.id, "ssl_swin.kind": kind},
            run_id=known[0].info.run_id if known else None,
        )
        with _kept("MLFLOW_TRACKING_URI"):  # which it sets, also for a next run of this process
            self.run_id = logger.run_id
        if not known:
            sent.forget_after(-1)
        if not known or not known[0].data.params:  # once written, they stay
            logger.log_hyperparams({"kind": kind, **config})
        self.client.update_run(self.run_id, "RUNNING")
        return f"{uri}, run {self.run_id}"

    def log(self, points: Mapping[str, float], step: int) -> None:
        """Send points, which are there when this returns."""
        self.logger.log_metrics(points, step)

    def end(self, status: str, found: Mapping[str, float], step: int) -> None:
        """Log what was found; a stopped run is scheduled, since it will go on."""
        if found:
            self.logger.log_metrics(found, step)
        if status == "stopped":
            self.client.update_run(self.run_id, "SCHEDULED")
        else:
            self.client.set_terminated(self.run_id, status.upper())

    def drop(self) -> None:
        """Do nothing: each request gives up by itself."""


TRACKERS: dict[str, type[Tracker]] = {"wandb": Wandb, "mlflow": Mlflow}


def called(folder: RunFolder) -> str:
    """Return what a run is called: its folder, and the one around it."""
    return "/".join(folder.root.absolute().parts[-2:])


@contextmanager
def _kept(name: str) -> Iterator[None]:
    """Put a variable of the environment back."""
    before = os.environ.get(name)
    try:
        yield
    finally:
        os.environ.pop(name, None)
        if before is not None:
            os.environ[name] = before
