"""What of a run is saved, and when; and how it is put back."""

from collections.abc import Callable
from typing import Any, Literal

from pytorch_lightning import Callback, Trainer

from ssl_swin.errors import UserError
from ssl_swin.phases import Phase
from ssl_swin.training.checkpoint_file import FORMAT, State
from ssl_swin.training.checkpoint_writer import CheckpointWriter
from ssl_swin.training.fsdp import gathered, is_sharded
from ssl_swin.training.learner import Learner
from ssl_swin.training.preemption import Meeting
from ssl_swin.training.watchdog import beat


def restore(module: Learner, state: State) -> None:
    """Put a checkpoint's weights, counters and optimiser into a module, before training starts.

    Weights and optimiser are taken out of the `state`, so that nothing holds them for all its life.

    Raises:
        UserError: If the weights are of another architecture.
    """
    mine, theirs = module.state_dict(), state.pop("model")
    for name in [*mine, *(name for name in theirs if name not in mine)]:
        have = tuple(mine[name].shape) if name in mine else None
        found = tuple(theirs[name].shape) if name in theirs else None
        if have != found:
            raise UserError(
                f"the checkpoint is of another architecture: {name} is {found} there and {have} in "
                "this config; use the config it was trained with, or start a new run folder"
            )
    module.load_state_dict(theirs)
    module.step = state["step"]
    module.metrics = dict(state["metrics"])
    module.optimizer_state = state.pop("optimizer")
    module.loss_scale_state = state.get("loss_scale")  # None without fp16
    average = state.pop("model_ema", None)
    module.average_state = None if module.ema_decay is None else average


class Checkpoints(Callback):
    """Saves between two steps, after all callbacks that belong to the step, and where the run ends.

    Args:
        writer: Puts checkpoints in their places.
        meeting: Tells all ranks whether one is due by the clock, and knows where the run ends.
        every_steps: Steps between checkpoints; 0 for none.
        keep_every_steps: Steps between checkpoints that are kept, with their encoders; 0 for none.
        facts: What a checkpoint says of the run beside its weights: kind, shard set, lanes.
        export: Writes what others take of the weights of a checkpoint, or of their moving average,
            which is that after some epochs, the best, or, of None, the last one.
    """

    def __init__(
        self,
        writer: CheckpointWriter,
        meeting: Meeting,
        every_steps: int,
        keep_every_steps: int,
        facts: State,
        export: Callable[[int | Literal["best"] | None, State], None],
    ) -> None:
        self.writer, self.meeting, self.facts, self.export = writer, meeting, facts, export
        self.every_steps, self.keep_every_steps = every_steps, keep_every_steps
        self._best: float | None = None
        self._saved_step, self._early = 0, -1

    def setup(self, trainer: Trainer, pl_module: Learner, stage: str) -> None:
        """Take the best result of earlier lives."""
        self._best, self._saved_step = pl_module.best, pl_module.step

    def on_train_start(self, trainer: Trainer, pl_module: Learner) -> None:
        """Save if this life measured what the one before did not come to, and it is the best."""
        if pl_module.best != self._best:
            self._save_on_rank_0(trainer, pl_module, ["best"])

    def on_train_batch_end(self, trainer: Trainer, pl_module: Learner, *_: Any) -> None:
        """Save if it is time, or if the run ends here.

        Raises:
            LostOwnership: On rank 0, if a newer life owns the folder.
            OSError: If this checkpoint, or the one in the background, cannot be written.
        """
        self.writer.check()
        if reasons := self._reasons(pl_module):
            self._save_on_rank_0(trainer, pl_module, reasons)
        if pl_module.step == self.meeting.stop_step:
            self._wait_for_all(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: Learner) -> None:
        """Save if the run was asked to stop; raises what `on_train_batch_end` does."""
        if not self.meeting.signal:
            return
        if self._saved_step != pl_module.step:
            self._save_on_rank_0(trainer, pl_module, ["stop"])
        self._wait_for_all(trainer)

    def save_early(self, trainer: Trainer, pl_module: Learner) -> None:
        """Save once at this step, before it is over, on rank 0 alone; weights in parts cannot be.

        What is saved here is saved again, once the step is over.
        """
        if trainer.is_global_zero and not is_sharded(trainer) and self._early != pl_module.step:
            self._early = pl_module.step
            reasons = ["stop"] if pl_module.best == self._best else ["stop", "best"]
            self._save(trainer, pl_module, self._state(trainer, pl_module), reasons)

    def _save_on_rank_0(self, trainer: Trainer, module: Learner, reasons: list[str]) -> None:
        beat()
        with Phase(f"saving step {module.step:,}"):
            state = self._state(trainer, module)
            if trainer.is_global_zero:
                self._save(trainer, module, state, reasons)
        self._best, self._saved_step = module.best, module.step
        self.meeting.saved()
        beat()

    def _wait_for_all(self, trainer: Trainer) -> None:
        """Wait for the disk: when one process leaves, SLURM may kill the others."""
        with Phase("waiting until all is saved"):
            if trainer.is_global_zero:
                self.writer.finish()
            trainer.strategy.barrier()
        beat()

    def _reasons(self, module: Learner) -> list[str]:
        step = module.step
        due = {
            "steps": self.every_steps and step % self.every_steps == 0,
            "minutes": self.meeting.save_due,
            "keep": self.keep_every_steps and step % self.keep_every_steps == 0,
            "best": module.best != self._best,
            "end": step == self.meeting.stop_step,
        }
        return [reason for reason, holds in due.items() if holds]

    def _state(self, trainer: Trainer, module: Learner) -> State:
        optimizer = module.optimizers(use_pl_optimizer=False)
        # until the module itself starts, the scale is that of the checkpoint
        scale = module.loss_scale.state() if module.loss_scale else module.loss_scale_state
        more = {} if scale is None else {"loss_scale": scale}
        model = trainer.strategy.lightning_module_state_dict()
        if module.average is not None:
            whole = gathered(module.average.weights, trainer.is_global_zero)
            more["model_ema"] = dict(model) | whole  # what is not trained takes no more room
        return {
            "format": FORMAT,
            "step": module.step,
            "samples_seen": module.step * module.schedule.global_batch_size,
            "metrics": dict(module.metrics),
            "model": model,
            "optimizer": trainer.strategy.optimizer_state(optimizer),
            **more,
            **self.facts,
        }

    def _save(self, trainer: Trainer, module: Learner, state: State, reasons: list[str]) -> None:
        for logger in trainer.loggers:  # points before the checkpoint are not logged again
            logger.save()
        folder = self.writer.folder
        weights: State = state["model_ema"] if "model_ema" in state else state["model"]
        copies = []
        if "best" in reasons:
            copies.append(folder.best)
            self.writer.require_owner()
            self.export("best", weights)
        if "keep" in reasons:
            epoch = module.step // module.schedule.steps_per_epoch
            copies.append(folder.kept(epoch))
            self.writer.require_owner()
            self.export(epoch, weights)
        self.writer.write(state, copies, reasons)
        if "end" in reasons:
            self.writer.require_owner()
            self.export(None, weights)
