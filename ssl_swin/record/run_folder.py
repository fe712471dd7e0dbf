"""What is where in a run folder."""

from dataclasses import dataclass
from pathlib import Path

from ssl_swin.record.tags import HELDOUT, TRAIN

ENCODER_FILE = "encoder.safetensors"
CLASSIFIER_FILE = "classifier.safetensors"
_DEEPSPEED = "mp_rank_00_model_states.pt"
_OF_OTHERS = ("model.safetensors", "pytorch_model.bin", _DEEPSPEED)  # of transformers and timm, too


class File:
    """A path below a run folder, as an attribute of it."""

    def __init__(self, *parts: str) -> None:
        self.parts = parts

    def __get__(self, folder: "RunFolder", owner: type) -> Path:
        return folder.root.joinpath(*self.parts)


@dataclass(frozen=True)
class RunFolder:
    """The files of one run; nothing is written outside of them."""

    root: Path

    config = File("config.yaml")  # complete, as parsed
    last = File("checkpoints", "last.ckpt")  # the same command goes on from this checkpoint
    previous = File("checkpoints", "previous.ckpt")  # the one before, in case the last is damaged
    damaged = File("checkpoints", "damaged.ckpt")  # a last one that could not be read, kept aside
    best = File("checkpoints", "best.ckpt")  # of the best top-1; of pretraining, if asked for
    best_encoder = File("encoders", "best.safetensors")  # pretraining's, of that checkpoint
    encoder = File(ENCODER_FILE)  # weights for others; encoder.json is their card
    classifier = File(CLASSIFIER_FILE)  # fine-tuning's encoder and head; classifier.json: the card
    classes = File("classes.json")  # fine-tuning's: the name of each class, in their order
    channels = File("channels.json")  # of the training files, where they have names: in their order
    loaded = File("loaded.json")  # what became of each tensor of the weights that it began with
    train = File(TRAIN)  # TensorBoard's event files: of training, pictures, config
    heldout = File(HELDOUT)  # and of held-out images, a curve beside that of training
    tensorboard = File("tensorboard")  # all of them, in runs that release 0.1 began
    owner = File("owner.json")  # which life may write here: the one that started last
    shards = File("shards.json")  # the training shards: number, samples, fingerprint
    differences = File("resumed_from.json")  # settings that --resume-from changed: old, new value
    summary = File("summary.json")  # the finished run in numbers
    table = File("metrics.csv")  # the points of metrics.jsonl, if asked for
    # One JSON line for each
    checkpoints = File("checkpoints.jsonl")  # checkpoint written: its step, the reasons, seconds
    metrics = File("metrics.jsonl")  # of TensorBoard's points, in full precision
    bad_samples = File("bad_samples.jsonl")  # image that could not be decoded, once for each epoch
    lives = File("lives.jsonl")  # start: life, step, world size, SLURM's job, nodes, when, on what
    ends = File("ends.jsonl")  # life that was not killed: step, reason, status, seconds
    jobs = File("jobs.jsonl")  # job that `ssl-swin submit` queued for this run
    verdicts = File("verdicts.jsonl")  # job that ended: whether it was queued again, and why

    @property
    def finetuning(self) -> Path:
        """A folder beside it, for a fine-tuning of what it pretrains."""
        name = self.root.name
        return self.root.with_name("finetune" if name == "pretrain" else f"{name}-finetune")

    def kept(self, epoch: int) -> Path:
        """Return the checkpoint kept after `epoch` epochs."""
        return self.root / "checkpoints" / f"epoch-{epoch:04d}.ckpt"

    def kept_encoder(self, epoch: int) -> Path:
        """Return the encoder kept after `epoch` epochs."""
        return self.root / "encoders" / f"epoch-{epoch:04d}.safetensors"

    def kept_classifier(self, epoch: int) -> Path:
        """Return the classifier kept after `epoch` epochs."""
        return self.root / "classifiers" / f"epoch-{epoch:04d}.safetensors"

    def panel(self, step: int) -> Path:
        """Return the picture panel made after `step` steps."""
        return self.root / "panels" / f"step-{step:07d}.png"

    def heldout_picture(self, which: str, kind: str) -> Path:
        """Return a picture of the "best" or "last" measurement of a fine-tuning."""
        return self.root / "panels" / f"{which}-{kind}.png"

    def tracking(self, tracker: str) -> Path:
        """Return the run's id in a tracker of others, and how far its points were sent there."""
        return self.root / "tracking" / f"{tracker}.json"

    def evaluation(self, name: str) -> Path:
        """Return the folder of a classifier's evaluation on the images of this name."""
        return self.root / "evaluation" / name

    def exported(self, name: str) -> Path:
        """Return the folder of the files of a format, for another library."""
        return self.root / "exports" / name

    def ledger(self, rank: int) -> Path:
        """Return one rank's sample ledger: JSON lines of life, step, rank, ids."""
        return self.root / "ledger" / f"rank-{rank:04d}.jsonl"

    def stacks(self, rank: int) -> Path:
        """Return the file for the stacks of a rank's threads, if it hangs."""
        return self.root / "stacks" / f"rank-{rank:04d}.txt"


def encoder_file(source: Path) -> Path:
    """Return the file of an encoder that is given as itself, or as the folder that has it.

    That is a run folder, or one in which transformers, timm or DeepSpeed left weights.
    """
    if not source.is_dir():
        return source
    names = (ENCODER_FILE, *_OF_OTHERS, _of_newest_tag(source))
    return next((source / name for name in names if (source / name).is_file()), source / names[0])


def _of_newest_tag(folder: Path) -> str:
    """Return where DeepSpeed has its weights, below a folder that says its newest tag."""
    try:
        with (folder / "latest").open(encoding="utf-8") as file:
            tag = file.read(256).strip()
    except (OSError, UnicodeDecodeError):
        tag = ""
    return f"{Path(tag).name or '.'}/{_DEEPSPEED}"


def classifier_file(source: Path) -> Path:
    """Return the file of a classifier that is given as itself, or as the run folder that has it."""
    return source / CLASSIFIER_FILE if source.is_dir() else source
