"""Our train steps, as `gpu.py` times them: in the Trainer."""

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from gpu_limits import synchronize
from pytorch_lightning import Callback, LightningDataModule
from sides import build_ours
from torch import Tensor, nn
from torch._dynamo.backends.debugging import aot_eager
from torch.utils.data import DataLoader, IterableDataset
from train_step import CLIP_GRAD, LR, WEIGHT_DECAY

from ssl_swin.config.data import IMAGENET_MEAN, IMAGENET_STD
from ssl_swin.models.blocks import (
    Checkpointable,
    InBlocks,
    compile_blocks,
    compiled_folder,
    fuse_attention,
)
from ssl_swin.models.classifier import Classifier
from ssl_swin.models.encoder import Encoder
from ssl_swin.models.masking import grid
from ssl_swin.models.normalise import Normalisation
from ssl_swin.training.curve import LearningRateCurve
from ssl_swin.training.erasing import Erasing
from ssl_swin.training.finetune import FinetuneModule
from ssl_swin.training.learner import Learner, Schedule
from ssl_swin.training.masks import Masking
from ssl_swin.training.optim import adamw
from ssl_swin.training.pretrain import PretrainModule
from ssl_swin.training.regularise import Regularisation
from ssl_swin.training.trainer import Hardware, make_trainer

WARMUP = 5  # steps that are not counted: libraries choose kernels, graphs are recorded
FEWEST = 3  # steps that are
NAMES = {
    "Swin-T": "swin_tiny_patch4_window7_224",
    "Swin-B": "swin_base_patch4_window7_224",
    "Swin-L": "swin_large_patch4_window7_224",
    "demo": "demo",
}
NUM_CLASSES = 1000
TRACED = "aot_eager"  # instead of a mode: all of compiling but what takes minutes on a CPU
Step = Callable[[], Any]


@dataclass(frozen=True)
class Case:
    """One row of the results."""

    size: str
    img_size: int
    window_size: int
    batch: int
    whose: str = "ours"
    precision: str = "bf16"
    fused: bool = False
    compiled: str = "off"
    checkpointed: bool = False
    finetune: bool = False

    @property
    def how(self) -> str:
        """What is done to the blocks, in words."""
        said = ["fused attention"] if self.fused else []
        said += [f"compiled ({self.compiled})"] if self.compiled != "off" else []
        said += ["checkpointed"] if self.checkpointed else []
        return ", ".join(said) or "eager"

    @property
    def stored(self) -> str:
        """The precision without TF32, which changes products alone."""
        return "fp32" if self.precision == "tf32" else self.precision

    @property
    def label(self) -> str:
        """The row in words."""
        kind = ", fine-tuning" if self.finetune else ""
        where = f"{self.size} {self.img_size}/{self.window_size}, {self.batch} images"
        return f"{where}, {self.precision}: {self.whose}, {self.how}{kind}"


@dataclass(frozen=True)
class Timing:
    """What was measured: seconds of a step and of the first one, peak memory of the steps."""

    step_s: float
    first_s: float
    num_steps: int
    peak_bytes: int | None


class Stopwatch:
    """Times steps, so many that they take `seconds`; `timing` is there once they are done."""

    def __init__(self, device: torch.device, seconds: float) -> None:
        self.device, self.seconds = device, seconds
        self.timing: Timing | None = None
        self._count, self._num, self._first_s = 0, FEWEST, 0.0
        self._began = time.perf_counter()

    def tick(self) -> None:
        """Tell that a step is done, or that none is yet, if that is the first call."""
        self._count += 1
        if self._count == 1:
            self._first_s = self._lap()
        elif self._count == WARMUP - 1:
            self._lap()
        elif self._count == WARMUP:
            self._num = max(FEWEST, round(self.seconds / self._lap()))
            if self.device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(self.device)
        elif self._count == WARMUP + self._num:
            step_s, gpu = self._lap() / self._num, self.device.type == "cuda"
            peak = torch.cuda.max_memory_allocated(self.device) if gpu else None
            self.timing = Timing(step_s, self._first_s, self._num, peak)

    def _lap(self) -> float:
        synchronize(self.device)
        now = time.perf_counter()
        took, self._began = now - self._began, now
        return took


def build(case: Case, device: torch.device) -> tuple[Learner, dict[str, Tensor]]:
    """Return our module, and a batch for it on the device."""
    with device:  # weights of a Swin-L take seconds to draw on a CPU
        module: Learner = _for_pretraining(case)
        if case.finetune:
            module = _for_finetuning(module)
    module.to(device)  # windows are laid out on the CPU
    compute(module.network.encoder, case)
    module.cuda_graphs = case.compiled == "reduce-overhead"
    generator = torch.Generator().manual_seed(0)
    chans, (rows, cols) = 3, module.network.encoder.img_size
    shape = (case.batch, chans, rows, cols)
    batch = {
        "image": torch.randint(256, shape, generator=generator, dtype=torch.uint8),
        "index": torch.arange(case.batch),
        "epoch": torch.zeros(case.batch, dtype=torch.int64),
        "label": torch.arange(case.batch) % NUM_CLASSES,
    }
    box = torch.tensor([rows // 4, cols // 4, rows // 3, cols // 3])  # in each fourth image
    here = {"erased": box * (torch.arange(case.batch) % 4 == 0)[:, None]}  # on the CPU, as loaded
    return module, {name: value.to(device) for name, value in batch.items()} | here


def _for_pretraining(case: Case) -> PretrainModule:
    ours = build_ours(NAMES[case.size], case.img_size, case.window_size)
    schedule = Schedule(
        seed=0,
        global_batch_size=case.batch,
        steps_per_epoch=sys.maxsize,  # one epoch: the masks stay what they are
        num_micro_batches=1,
        curve=LearningRateCurve(total_steps=sys.maxsize, base_lr=LR),
        weight_decay=WEIGHT_DECAY,
        betas=(0.9, 0.999),
        clip_grad=CLIP_GRAD,
    )
    size = ours.mask_patch_size
    masking = Masking(size, grid(ours.encoder.img_size, size), 0.6, seed=0)
    return PretrainModule(ours, Normalisation(IMAGENET_MEAN, IMAGENET_STD), masking, schedule)


def _for_finetuning(module: PretrainModule) -> FinetuneModule:
    return FinetuneModule(
        Classifier(module.network.encoder, NUM_CLASSES),
        Normalisation(IMAGENET_MEAN, IMAGENET_STD),
        Regularisation(0, NUM_CLASSES, mixup=0.8, cutmix=1.0, label_smoothing=0.1),
        module.schedule,
        layer_decay=0.9,
        erasing=Erasing(seed=0),
    )


def compute(encoder: Encoder, case: Case) -> None:
    """Have the encoder's blocks computed as the case says, as `runs/computing.py` does."""
    fuse_attention(encoder, case.fused)
    if case.checkpointed and isinstance(encoder, Checkpointable):
        encoder.set_grad_checkpointing()
    compile_as(case, encoder)


def compile_as(case: Case, network: Any) -> None:
    """Compile a network's blocks as the case says."""
    if case.compiled != "off" and isinstance(network, InBlocks):
        compiled_folder()
        traced = {"backend": aot_eager} if case.compiled == TRACED else {}
        compile_blocks(network.blocks(), "default" if traced else case.compiled, **traced)


class Again(IterableDataset):
    """The same batch until the watch has what it wants."""

    def __init__(self, batch: dict[str, Tensor], watch: Stopwatch) -> None:
        self.batch, self.watch = batch, watch

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        while self.watch.timing is None:
            yield self.batch


class Given(LightningDataModule):
    """Batches that are where they belong."""

    def __init__(self, batches: Again) -> None:
        super().__init__()
        self.batches = batches

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.batches, batch_size=None)

    def transfer_batch_to_device(self, batch: Any, device: Any, dataloader_idx: int) -> Any:  # noqa: ARG002
        return batch


class Ticks(Callback):
    """Tells the watch of each step."""

    def __init__(self, watch: Stopwatch) -> None:
        self.watch = watch

    def on_train_batch_end(self, *_: Any) -> None:
        self.watch.tick()


def time_in_trainer(
    module: Learner, batch: dict[str, Tensor], case: Case, watch: Stopwatch
) -> Timing:
    """Time our step as it is: with its masks, clipping, and what Lightning does around it."""
    accelerator = "gpu" if watch.device.type == "cuda" else "cpu"
    rounded = case.precision == "tf32"
    hardware = Hardware(accelerator, precision=case.stored, tf32=rounded)
    trainer = make_trainer(hardware, [Ticks(watch)], [])
    trainer.fit(module, datamodule=Given(Again(batch, watch)))
    assert watch.timing is not None
    return watch.timing


def bare_step(case: Case, device: torch.device) -> Step:
    """Return our step without Lightning, to be counted and profiled."""
    module, batch = build(case, device)
    module.trainer = None  # type: ignore[assignment]
    optimizer = adamw(module.parameter_groups(), lr=LR)
    half = case.precision == "bf16"

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            loss = module.loss(module.micro_batch(batch, 0, case.batch))
        loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), CLIP_GRAD)
        optimizer.step()
        optimizer.zero_grad()

    return step
