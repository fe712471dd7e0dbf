"""What of other people's code is overridden, set or private, listed from ours: is it still there?

A name that the code newly leans on is missing in a table here and fails; one that a release of
theirs takes away fails with any version; `make test-oldest` runs this with the oldest.
"""

import ast
import importlib
import inspect
import sys
import tempfile
import threading
from multiprocessing import queues, util
from operator import attrgetter
from pathlib import Path

import pytest
import torch
from PIL import Image
from pytorch_lightning import Trainer
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy
from timm.data.auto_augment import rand_augment_transform
from torch.distributed.fsdp import FSDPModule

ROOT = Path(__file__).parents[1]
TREES = {
    path: ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted((ROOT / "ssl_swin").rglob("*.py"))
}
THEIRS = ("torch", "pytorch_lightning", "lightning_fabric", "lightning", "timm", "webdataset")
DOCUMENTED = {"_exit", "_replace", "_asdict"}  # of os and of named tuples


@pytest.fixture(scope="module")
def theirs():
    """One of each object that the code reaches into, by the name that it has there."""
    return {
        "trainer": Trainer(accelerator="cpu", logger=False, enable_checkpointing=False),
        "torch": torch,
        "queues": queues,
        "policy": rand_augment_transform("rand-m9-mstd0.5-inc1", {}),
        "operation": rand_augment_transform("rand-m9-mstd0.5-inc1", {}).ops[0],
        "Image": Image,
        "optimizer": torch.optim.AdamW([torch.zeros(1, requires_grad=True)], fused=True),
        "sys": sys,
        "threading": threading,
        "tempfile": tempfile,
        "dynamo": torch._dynamo.config,
    }


# As they stand in the code. What is set on our own objects is not theirs.
PRIVATE = {
    "trainer._signal_connector",
    "trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor",
    "torch.UntypedStorage._new_shared",
    "torch._dynamo",
    "torch._inductor",
    "torch._foreach_sub_",
    "torch._softmax_backward_data",
    *("torch._foreach_sub", "torch._foreach_mul_", "torch._foreach_add_"),
    "queues.Queue._on_queue_feeder_error",
}
SET = {
    "trainer._signal_connector.register_signal_handlers",
    "trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor",
    "queues.Queue._on_queue_feeder_error",
    "operation.aug_fn",
    "torch.backends.cudnn.allow_tf32",
    "Image.MAX_IMAGE_PIXELS",
    "sys.excepthook",
    "threading.excepthook",
    "tempfile.tempdir",
    "dynamo.recompile_limit",
    "dynamo.optimize_ddp",
}
# What they read and do not make; see the test below.
SET_FOR_THEM = {"optimizer.found_inf", "optimizer.grad_scale"}
OURS = {
    *("error.filename", "raised.errno"),
    *(
        f"module.{name}"
        for name in ("step", "metrics", "best_metric", "optimizer_state", "loss_scale_state")
    ),
    *("module.average_state", "module.ema_decay", "module.class_loss", "module.head_steps"),
    *("module.loaded", "module.layer_decay", "module.sizes"),
    *("module.cuda_graphs", "block.forward", "parameter.grad", "counter.value"),
    *(
        f"one.{name}"
        for name in ("num_images", "num_jpegs", "num_bytes", "short_sides", "num_broken")
    ),
    *("run.datamodule.meeting", "phase.far", "self.starting.doing", "self.record.suspended_s"),
    *("run.datamodule.fixed", "run.module.result", "module.schedule"),
    *("pl_module.watch", "stream.labels"),
    "self._sent.whole",
    *("self.files.max_open", "self.indexes.max_mapped"),
    *("decoder.convolves", "stage.grad_checkpointing"),
    *(f"ctx.{name}" for name in ("drops", "num_heads", "scale", "bias_shape")),
}
CALLED = {
    *("policy.ops", "operation.name"),
    *("trainer.precision", "trainer.precision_plugin.val_step_context"),
}
# base class -> what our classes override of it, or set
OVERRIDDEN = {
    "Callback": {
        *("on_train_start", "on_train_batch_start", "on_train_batch_end", "on_train_end"),
        *("setup", "teardown"),
    },
    "LightningModule": {
        *("configure_optimizers", "on_train_start", "training_step", "validation_step"),
        *("automatic_optimization", "configure_gradient_clipping", "forward", "on_train_end"),
    },
    "DDPStrategy": {
        *("model_to_device", "configure_ddp", "block_backward_sync", "teardown"),
        "setup_distributed",
        *("lightning_module_state_dict", "optimizer_state"),
    },
    "LightningDataModule": {"train_dataloader", "teardown", "transfer_batch_to_device"},
    "Logger": {"name", "version", "log_hyperparams", "log_metrics", "finalize"},
    "Module": {"forward", "load_state_dict", "train"},
    "Dataset": {"__getitem__"},
    "Function": {"forward", "backward"},
}
# Called by a name that is nowhere else but in Lightning, on a strategy of one or several processes.
STRATEGY = {
    "barrier",
    "broadcast",
    "reduce",
    "root_device",
    "training_step",
    "lightning_module_state_dict",
    "optimizer_state",
}


def nodes(*kinds):
    return [node for tree in TREES.values() for node in ast.walk(tree) if isinstance(node, kinds)]


def is_own(node):
    return isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")


def test_private_names_are_listed():
    found = {
        ast.unparse(node)
        for node in nodes(ast.Attribute)
        if node.attr.startswith("_") and not node.attr.startswith("__") and not is_own(node)
        if node.attr not in DOCUMENTED
    }
    assert found == PRIVATE
    imported = {
        name
        for node in nodes(ast.Import, ast.ImportFrom)
        for name in [getattr(node, "module", None) or "", *(one.name for one in node.names)]
        if any(part.startswith("_") and part[:2] != "__" for part in name.split("."))
    }
    assert imported == set()


def test_what_is_set_on_others_is_listed():
    found = {
        ast.unparse(node)
        for node in nodes(ast.Attribute)
        if isinstance(node.ctx, ast.Store) and not is_own(node)
    }
    assert found == SET | SET_FOR_THEM | OURS


@pytest.mark.filterwarnings("ignore:The `srun` command is available")  # where SLURM is installed
@pytest.mark.parametrize("name", sorted(PRIVATE | SET | CALLED))
def test_they_still_have_it(name, theirs):
    first, _, rest = name.partition(".")
    attrgetter(rest)(theirs[first])


def test_the_loaders_memory_is_shared():
    assert torch.UntypedStorage._new_shared(16).is_shared()
    assert callable(util.get_temp_dir)
    assert list(inspect.signature(queues.Queue._on_queue_feeder_error).parameters) == ["e", "obj"]


@pytest.mark.parametrize("found_inf", [0.0, 1.0])
def test_a_fused_optimiser_asks_whether_a_gradient_is_finite_and_what_its_scale_is(found_inf):
    weight = torch.ones(3, requires_grad=True)
    optimizer = torch.optim.AdamW([weight], lr=0.1, fused=True)
    weight.grad = torch.ones(3)
    optimizer.found_inf, optimizer.grad_scale = torch.tensor(found_inf), torch.tensor(4.0)
    optimizer.step()
    assert torch.equal(weight, torch.ones(3)) is bool(found_inf)
    assert found_inf or torch.allclose(optimizer.state[weight]["exp_avg"], torch.tensor(0.1 / 4))


def test_strategies_do_what_they_are_asked_to():
    called = {
        node.attr
        for node in nodes(ast.Attribute)
        if isinstance(node.value, ast.Attribute) and node.value.attr == "strategy"
    }
    assert called == STRATEGY
    for kind in (DDPStrategy, SingleDeviceStrategy):
        assert all(hasattr(kind, name) for name in STRATEGY)
    assert callable(DDPStrategy.block_backward_sync)  # without it every micro-batch is exchanged
    for name in ("set_requires_gradient_sync", "set_force_sum_reduction_for_comms"):
        assert callable(getattr(FSDPModule, name))


def classes():
    """Each class of ours that is made of one of theirs, with the one it is made of."""
    for path, tree in TREES.items():
        if not any(isinstance(node, ast.ClassDef) for node in ast.walk(tree)):
            continue  # what imports Triton has none
        parts = path.relative_to(ROOT).with_suffix("").parts
        module = importlib.import_module(".".join(parts).removesuffix(".__init__"))
        for one in vars(module).values():
            if inspect.isclass(one) and one.__module__ == module.__name__:
                base = next((b for b in one.__mro__ if b.__module__.split(".")[0] in THEIRS), None)
                if base is not None:
                    yield pytest.param(one, base, id=f"{module.__name__}.{one.__name__}")


def own_names(one, base):
    """The names that a class, and those of ours that it is made of, define or set on itself."""
    for kind in one.__mro__[: one.__mro__.index(base)]:
        yield from (name for name in vars(kind) if not name.startswith("__"))
        if kind.__module__.startswith("ssl_swin"):
            tree = TREES[Path(inspect.getfile(kind))]
            body = next(n for n in ast.walk(tree) if getattr(n, "name", "") == kind.__name__)
            for node in ast.walk(body):
                is_set = isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
                if is_set and is_own(node):
                    yield node.attr


CLASSES = list(classes())


@pytest.mark.parametrize(("one", "base"), CLASSES)
def test_what_our_classes_override_is_meant_and_is_there(one, base):
    own = set(own_names(one, base)) & {*dir(base)} - {
        "_abc_impl",
        "_backward_cls",
    }  # made by metaclasses
    assert own <= OVERRIDDEN[base.__name__]
    for name in own:
        hook, mine = getattr(base, name), getattr(one, name)
        if inspect.isfunction(hook) and inspect.isfunction(mine):
            given = [one.kind for one in inspect.signature(hook).parameters.values()]
            if inspect.Parameter.VAR_POSITIONAL not in given:
                inspect.signature(mine).bind(*given)


@pytest.mark.parametrize(("one", "base"), CLASSES)
def test_every_hook_is_one_that_is_called(one, base):
    hooks = {name for name in own_names(one, base) if name.startswith("on_")} - {"on_cpu"}
    assert hooks <= {*dir(base)}
