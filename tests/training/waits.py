"""Counts where a training on the CPU asks for numbers that would be on a GPU, and would wait."""

import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, Trainer
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ssl_swin.config.run import RunConfig
from ssl_swin.runs import build, life, sizes
from ssl_swin.training.datamodule import StreamModule
from ssl_swin.training.learner import Learner
from ssl_swin.training.trainer import make_trainer
from tests.training.launch import finetune_config, pretrain_config

CONFIGS = {"pretrain": pretrain_config, "finetune": finetune_config}
NUM_STEPS = 10
HERE = {"ids", "erased"}  # what of a batch is never moved to the device

# Operations whose result, or its size, the program must know: `.item()`, `if tensor:` and others.
_ASKING = {
    *("_local_scalar_dense", "is_nonzero", "equal", "nonzero", "masked_select", "bincount"),
    *("_unique", "_unique2", "unique_dim", "unique_consecutive", "unique_dim_consecutive"),
}
_METHODS = {getattr(Tensor, name) for name in ("cpu", "tolist", "numpy", "__array__")}


def is_ours(file: str) -> bool:
    return "site-packages" not in file and file != __file__


class Waits:
    """Knows what would be on the device: what `put` put there, and all that is made of it.

    `found` counts what would wait for it, by the place in the code. Tensors of plain numbers, or of
    those that stay on the CPU, may be asked.
    """

    def __init__(self) -> None:
        self.found: Counter[str] = Counter()
        self._there: set[StorageWeakRef] = set()  # while there is one, none takes its place

    def put(self, *tensors: Tensor) -> None:
        self._there.update(StorageWeakRef(tensor.untyped_storage()) for tensor in tensors)

    def is_there(self, tensor: Tensor) -> bool:
        return StorageWeakRef(tensor.untyped_storage()) in self._there

    def note(self, what: str) -> None:
        ours = [one for one in traceback.extract_stack() if is_ours(one.filename)]
        self.found[f"{what}: {ours[-1].filename}:{ours[-1].lineno}"] += 1

    @contextmanager
    def counting(self) -> Iterator[None]:
        with _Operations(self), _Methods(self):
            yield


class _Operations(TorchDispatchMode):
    """Sees every operation on tensors, also those of the backward."""

    def __init__(self, waits: Waits) -> None:
        super().__init__()
        self.waits = waits

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        given = [one for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)]
        there = any(self.waits.is_there(one) for one in given)
        if there and _asks(func, given, kwargs):
            self.waits.note(str(func))
        made = func(*args, **kwargs)
        if there:
            self.waits.put(*(one for one in tree_leaves(made) if isinstance(one, Tensor)))
        return made


def _asks(func: Any, given: list[Tensor], kwargs: dict[str, Any]) -> bool:
    name = func.overloadpacket.__name__
    if name.startswith(("index", "_index_put", "_unsafe_index")):  # by a mask: how many are True?
        return any(one.dtype in (torch.bool, torch.uint8) for one in given[1:])
    if name == "repeat_interleave":
        return kwargs.get("output_size") is None
    return name in _ASKING


class _Methods(TorchFunctionMode):
    """Sees methods that copy a tensor to the CPU, where on the CPU no operation is left of them."""

    def __init__(self, waits: Waits) -> None:
        super().__init__()
        self.waits = waits

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is functional.one_hot:  # looks at its labels on a CPU, and on no other device
            before = self.waits.found.copy()
            made = func(*args, **kwargs)
            self.waits.found = before
            return made
        is_copy = func is Tensor.to and "cpu" in (*args[1:], *kwargs.values())  # by that name
        if (is_copy or func in _METHODS) and self.waits.is_there(args[0]):
            self.waits.note(func.__name__)
        return func(*args, **kwargs)


class Watched(Callback):
    """The last callback: begins to watch after the first step and ends after `NUM_STEPS` more.

    The first step sets up libraries; the last of a run is followed by all that is ever due.
    """

    def __init__(self, watch: Callable[[Learner], Any]) -> None:
        self.watch, self.num_steps = watch, 0
        self._watching = ExitStack()

    def on_train_batch_end(self, _: Trainer, pl_module: Learner, *__: Any) -> None:
        if pl_module.step == 1:
            self._watching.enter_context(self.watch(pl_module))
        elif pl_module.step <= 1 + NUM_STEPS:
            self.num_steps += 1
        if pl_module.step == 1 + NUM_STEPS:
            self.close()

    def close(self) -> None:
        self._watching.close()


def config_of(kind: str, place: Path, shards: Path, **training: Any) -> RunConfig:
    """16 steps of two micro-batches, drop path, mixing and erasing on; nothing is due before."""
    often = ("log_every_steps", "max_bad_steps")
    never = ("checkpoint_every_steps", "checkpoint_every_min")
    config = CONFIGS[kind](
        place,
        shards,
        **dict.fromkeys(often, 100),
        **dict.fromkeys(never, 0),
        **({"global_batch_size": 12, "micro_batch_size": 6} | training),
    )
    model = replace(config.model, drop_path_rate=0.1)
    return replace(config, model=model, optim=replace(config.optim, epochs=1, warmup_epochs=0.5))


def live(config: RunConfig, watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """Live a life, with all its callbacks, that is watched."""

    def with_it(hardware: Any, callbacks: list[Callback], *others: Any) -> Trainer:
        return make_trainer(hardware, [*callbacks, watched], *others)

    monkeypatch.setattr(build, "make_trainer", with_it)
    monkeypatch.setattr(sizes, "FEWEST_POINTS", 1)  # points wait
    threads = torch.get_num_threads()
    try:
        assert life.run(config) == 0
    finally:
        watched.close()
        torch.set_num_threads(threads)
    assert watched.num_steps == NUM_STEPS


def on_the_device(waits: Waits, monkeypatch: pytest.MonkeyPatch) -> Callable[[Learner], Any]:
    """Let what a GPU would hold count as being there; return what to watch with."""
    take = StreamModule.transfer_batch_to_device

    def moved(self: StreamModule, *given: Any) -> dict[str, Tensor]:
        batch = {n: v if n in HERE else v.clone() for n, v in take(self, *given).items()}
        waits.put(*(value for name, value in batch.items() if name not in HERE))
        return batch

    @contextmanager
    def watch(module: Learner) -> Iterator[None]:
        optimizer = module.optimizers(use_pl_optimizer=False)
        moments = [one for state in optimizer.state.values() for one in state.values()]
        scale = module.loss_scale.state().values() if module.loss_scale else ()
        waits.put(*module.parameters(), *module.buffers(), *moments, *scale)
        with waits.counting():
            yield

    monkeypatch.setattr(StreamModule, "transfer_batch_to_device", moved)
    return watch
