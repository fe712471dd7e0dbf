"""What is where in a run folder."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RunFolder:
    """The files of one run; nothing is written outside of them."""

    root: Path

    @property
    def config(self) -> Path:
        """The complete config, as parsed."""
        return self.root / "config.yaml"

    @property
    def last(self) -> Path:
        """The checkpoint that the same command goes on from."""
        return self.root / "checkpoints" / "last.ckpt"

    @property
    def previous(self) -> Path:
        """The checkpoint before the last, in case the last is damaged."""
        return self.root / "checkpoints" / "previous.ckpt"

    @property
    def damaged(self) -> Path:
        """A last checkpoint that could not be read, kept aside."""
        return self.root / "checkpoints" / "damaged.ckpt"

    @property
    def best(self) -> Path:
        """The fine-tuning checkpoint of the best validation top-1."""
        return self.root / "checkpoints" / "best.ckpt"

    @property
    def checkpoints(self) -> Path:
        """One JSON line for each checkpoint written: its step and the reasons."""
        return self.root / "checkpoints.jsonl"

    def kept(self, epoch: int) -> Path:
        """Return the checkpoint kept after `epoch` epochs."""
        return self.root / "checkpoints" / f"epoch-{epoch:04d}.ckpt"

    @property
    def encoder(self) -> Path:
        """The encoder's weights for others; its card lies beside it as `encoder.json`."""
        return self.root / "encoder.safetensors"

    def kept_encoder(self, epoch: int) -> Path:
        """Return the encoder kept after `epoch` epochs."""
        return self.root / "encoders" / f"epoch-{epoch:04d}.safetensors"

    @property
    def tensorboard(self) -> Path:
        """TensorBoard's event files."""
        return self.root / "tensorboard"

    @property
    def metrics(self) -> Path:
        """TensorBoard's points as JSON lines, in full precision."""
        return self.root / "metrics.jsonl"

    def panel(self, step: int) -> Path:
        """Return the picture panel made after `step` steps."""
        return self.root / "panels" / f"step-{step:07d}.png"

    def ledger(self, rank: int) -> Path:
        """Return one rank's sample ledger: JSON lines of life, step, rank, ids."""
        return self.root / "ledger" / f"rank-{rank:04d}.jsonl"

    @property
    def bad_samples(self) -> Path:
        """One JSON line for each image that could not be decoded, once for each epoch."""
        return self.root / "bad_samples.jsonl"

    @property
    def lives(self) -> Path:
        """One JSON line for each start: life, step, world size, SLURM's job, restart, nodes."""
        return self.root / "lives.jsonl"

    @property
    def ends(self) -> Path:
        """One JSON line for each life that was not killed: step, reason, status, seconds."""
        return self.root / "ends.jsonl"

    @property
    def owner(self) -> Path:
        """Which life may write here: the one that started last."""
        return self.root / "owner.json"

    def stacks(self, rank: int) -> Path:
        """Return the file for the stacks of a rank's threads, if it hangs."""
        return self.root / "stacks" / f"rank-{rank:04d}.txt"

    @property
    def jobs(self) -> Path:
        """One JSON line for each job that `ssl-swin submit` queued for this run."""
        return self.root / "jobs.jsonl"

    @property
    def verdicts(self) -> Path:
        """One JSON line for each job that ended: whether it was queued again, and why."""
        return self.root / "verdicts.jsonl"

    @property
    def shards(self) -> Path:
        """What the training shards are: how many shards and samples, fingerprint."""
        return self.root / "shards.json"

    @property
    def differences(self) -> Path:
        """The settings that `--resume-from` changed, each with its old and new value."""
        return self.root / "resumed_from.json"

    @property
    def summary(self) -> Path:
        """The finished run in numbers."""
        return self.root / "summary.json"
