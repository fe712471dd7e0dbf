import pytest

from ssl_swin.config.training import TrainingConfig
from ssl_swin.errors import UserError


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("global_batch_size", 0),
        ("micro_batch_size", 0),
        ("devices", 0),
        ("num_nodes", -1),
        ("num_threads", 0),
        ("validate_every_epochs", 0),
        ("log_every_steps", 0),
        ("checkpoint_every_steps", -1),
        ("checkpoint_every_min", -1.0),
        ("step_timeout_s", -1.0),
        ("ema_decay", 0.0),
        ("ema_decay", 1.0),
    ],
)
def test_values_that_cannot_be_are_refused_by_their_name(name, value):
    with pytest.raises(UserError, match=f"training.{name}") as info:
        TrainingConfig(**{name: value})
    assert "\n" not in str(info.value)


def test_nothing_need_be_saved_by_steps_or_minutes():
    TrainingConfig(checkpoint_every_steps=0, checkpoint_every_min=0.0, step_timeout_s=0.0)


def test_cuda_graphs_are_not_made_of_what_is_computed_again():
    with pytest.raises(UserError, match=r"use compile=default$"):
        TrainingConfig(activation_checkpointing=True, compile="reduce-overhead")


def test_cuda_graphs_are_not_made_of_weights_that_are_gathered():
    with pytest.raises(UserError, match=r"training\.compile=reduce-overhead needs weights that"):
        TrainingConfig(strategy="fsdp", compile="reduce-overhead")
