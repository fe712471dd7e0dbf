"""The settings of a fine-tuning without a config file: by its labels, its encoder, its machine.

What was tried: benchmarks/results/finetune_recipe.md.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from ssl_swin.config.run import FinetuneConfig
from ssl_swin.data.pixels.decode import sides
from ssl_swin.data.shards.given import NUMBERS
from ssl_swin.errors import UserError
from ssl_swin.machine import usable_cores
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.record.settings import read_config

_REFERENCE_BATCH = 512  # the global batch that rates are given for
_FEW, _SOME, _MORE, _MANY, _VERY_MANY = 500, 1_000, 5_000, 20_000, 500_000  # labels
_WIDE, _SHALLOW = 192, 8  # channels of the first stage, blocks of all
_LONG = 40  # epochs
_VIT_IS_WIDER = 6  # times: 768 channels of ViT-B and 128 of Swin-B have the same rate officially
_AS_PRETRAINED = (
    *("hflip", "vflip", "quarter_turns", "crop_pct", "decoder", "max_pixels", "black", "white"),
)


def _as_a_swin(width: int, is_vit: bool) -> int:
    return max(1, width // _VIT_IS_WIDER) if is_vit else width


class Choice(NamedTuple):
    """Settings that are chosen together, by their dotted names, and the reason."""

    values: dict[str, Any]
    why: str


@dataclass(frozen=True)
class Recipe:
    """Chooses settings of a fine-tuning of which the user left some free.

    Args:
        config: What the user gave, with the encoder's model.
        free: The names of settings that the user did not give.
        num_labels: Labelled training images.
        on_gpu: Whether it will be trained on GPUs; None: if there is one here.
    """

    config: FinetuneConfig
    free: set[str]
    num_labels: int
    on_gpu: bool | None = None

    def by_task(self) -> list[Choice]:
        """Choose what changes numbers, by the labels, the encoder, and whether there is a GPU."""
        return [*self._length(), *self._rates(), *self._regularisation(), *self._pixels()]

    def by_machine(self) -> list[Choice]:
        """Choose what changes no number."""
        cores, devices = usable_cores(), self.config.training.devices
        every = max(1, self.epochs // 10)
        choices = [Choice({"training.validate_every_epochs": every}, "ten times in all")]
        if self.gpu:
            workers = max(1, min(16, cores // devices - 1))
            why = f"{cores} cores, training processes: {devices}"
            return [*choices, Choice({"data.num_workers": workers}, why)]
        tiny = max(sides(self.config.model.img_size)) <= 32
        workers = 0 if tiny or cores == 1 else 1
        why = f"no GPU; the network needs the {cores} cores" if cores > 1 else "no GPU, one core"
        values = {"training.accelerator": "cpu", "data.num_workers": workers}
        choices.append(Choice(values, why))
        if tiny:
            choices.append(Choice({"training.num_threads": 1}, "too small to be shared by threads"))
        return choices

    @cached_property
    def gpu(self) -> bool:
        """Whether it is trained on a GPU."""
        asked = self.config.training.accelerator
        if asked != "auto" or self.on_gpu is not None:
            return asked == "gpu" if asked != "auto" else bool(self.on_gpu)
        import torch  # late, for speed

        return torch.cuda.is_available()

    @cached_property
    def batch(self) -> int:
        """The global batch: the user's, or a power of 2 that grows as the root of the labels."""
        if "training.global_batch_size" not in self.free:
            return self.config.training.global_batch_size
        batch, training = 16, self.config.training
        processes = training.devices * training.num_nodes
        while batch < processes or (batch < 1024 and self.num_labels >= batch * batch):
            batch *= 2
        return batch

    @cached_property
    def epochs(self) -> int:
        """The user's, or fewer the more labels there are, and on a CPU."""
        if "optim.epochs" not in self.free:
            return self.config.optim.epochs
        num = self.num_labels
        if self.gpu or num >= _VERY_MANY:
            return 50 if _MANY <= num < _VERY_MANY else 100
        return 50 if num < _FEW else 30 if num < _SOME else 20 if num < _MORE else 10

    @cached_property
    def _width_and_blocks(self) -> tuple[int, int]:
        """The channels of the first stage, and the blocks of all.

        Of a ViT as many channels as a Swin has that the official code trains at the same rate.
        """
        model = self.config.model
        if model.embed_dim is not None and model.depths is not None:
            return _as_a_swin(model.embed_dim, model.qkv_bias is not None), sum(model.depths)
        import torch  # late, for speed

        from ssl_swin.models.encoder import build_encoder  # likewise

        with torch.device("meta"):  # only its sizes are wanted
            encoder = build_encoder(model.name, model.img_size, 3)
        sizes = encoder.architecture()
        width = sizes.get("embed_dim", encoder.num_features)
        return _as_a_swin(width, "qkv_bias" in sizes), encoder.num_layers

    def _length(self) -> list[Choice]:
        labels, steps = f"{self.num_labels:,d} labelled images", self.num_labels // self.batch
        where = "a GPU" if self.gpu else "a CPU, where minutes count"
        return [
            Choice({"training.global_batch_size": self.batch}, f"{labels}, {steps} steps an epoch"),
            Choice({"optim.epochs": self.epochs}, f"{labels}, on {where}"),
            Choice(
                {"optim.warmup_epochs": self.epochs / 10, "optim.warmup_prefix": True},
                "a tenth of the epochs",
            ),
        ]

    def _rates(self) -> list[Choice]:
        width, blocks = self._width_and_blocks
        # The demo's best, 4e-3 of 48 channels; about that of the official Swin-B and 2048 images,
        # if rates go with the root of the batch.
        rate = min(4e-3, 4e-3 * (48 / width) ** 1.5) * max(1.0, (self.batch / 64) ** 0.5)
        names = ("optim.base_lr", "optim.warmup_lr", "optim.min_lr")
        values = (float(f"{rate * _REFERENCE_BATCH / self.batch:.3g}"), 0.0, 0.0)
        why = f"{rate:.1e} at this batch, as the first stage has {width} channels; try half first"
        rates = Choice(dict(zip(names, values, strict=True)), why)
        if self.config.encoder is None:
            return [
                rates,
                Choice({"optim.layer_decay": 1.0}, "from scratch all layers learn alike"),
            ]
        decay = 0.75 if blocks <= _SHALLOW else 0.8
        if self.config.model.qkv_bias is not None:
            decay = 0.65  # of a ViT, as in the official code
        why = f"the encoder's {blocks} blocks know much already, early ones most"
        return [rates, Choice({"optim.layer_decay": decay}, why)]

    def _regularisation(self) -> list[Choice]:
        width, blocks = self._width_and_blocks
        drop = 0.0 if blocks <= _SHALLOW else 0.1 if width < _WIDE else 0.2
        long, many = self.epochs >= _LONG, self.num_labels >= _MANY
        mixing = {"optim.mixup": 0.8 * long, "optim.cutmix": 1.0 * (long and many)}
        why = f"{self.epochs} epochs; mixing images pays where each is seen often"
        if self.config.task == NUMBERS:
            mixing = dict.fromkeys(("optim.mixup", "optim.cutmix", "optim.label_smoothing"), 0.0)
            why = "mixed images have no number of their own"
        choices = [Choice(mixing, why), Choice({"model.drop_path_rate": drop}, f"{blocks} blocks")]
        if self.gpu and _has_bf16():
            choices.append(Choice({"training.precision": "bf16"}, "this GPU is fast with it"))
        return choices

    def _pixels(self) -> list[Choice]:
        """Choose how images are cropped and changed: as in pretraining where that is known."""
        data, choices = self._pretraining_data(), []
        if known := {f"data.{name}": data[name] for name in _AS_PRETRAINED if name in data}:
            choices.append(Choice(known, "as in pretraining"))
        if self.num_labels < _VERY_MANY:
            scale = tuple(data.get("crop_scale", (0.3, 1.0)))
            why = "as in pretraining" if "crop_scale" in data else "gentle, for not so many images"
            choices.append(Choice({"data.crop_scale": scale}, why))
        if self.num_labels < _MANY:
            values = {"data.rand_augment": "", "data.erasing": 0.0}
            choices.append(Choice(values, "they pay in long trainings"))
        return choices

    def _pretraining_data(self) -> dict[str, Any]:
        """Return the `data` of the pretraining whose run folder the encoder is given as."""
        folder = RunFolder(Path(self.config.encoder or ""))
        if self.config.encoder is None or not folder.config.is_file():
            return {}
        read = read_config(folder)
        data = {name[5:]: value for name, value in read.items() if name.startswith("data.")}
        if "seed" not in read:  # it stands after all of data
            raise UserError(
                f"{folder.config} is cut off or damaged, and settings are chosen by it: copy it "
                f"again, or give a config file, or --encoder {folder.encoder}"
            )
        return data


def _has_bf16() -> bool:
    import torch  # late, for speed

    return torch.cuda.is_available() and torch.cuda.is_bf16_supported()
