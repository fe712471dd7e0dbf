import pytest

from ssl_swin.config.optim import FinetuneOptimConfig, OptimConfig
from ssl_swin.errors import UserError

REFUSED = [
    (OptimConfig, {"epochs": 0}, "optim.epochs=0"),
    (OptimConfig, {"base_lr": 0.0}, "optim.base_lr=0.0"),
    (OptimConfig, {"epochs": 5}, "optim.warmup_epochs=10 .* less than optim.epochs=5"),
    (OptimConfig, {"clip_grad": 0.0}, "optim.clip_grad=0.0"),
    (OptimConfig, {"warmup_lr": -1.0}, "optim.warmup_lr=-1.0"),
    (OptimConfig, {"betas": (0.9, 1.0)}, "optim.betas"),
    (FinetuneOptimConfig, {"epochs": 0}, "optim.epochs=0"),
    (OptimConfig, {"layer_decay": 1.1}, "optim.layer_decay=1.1"),
    (FinetuneOptimConfig, {"layer_decay": 0.0}, "optim.layer_decay=0.0"),
    (FinetuneOptimConfig, {"layer_decay": 1.1}, "optim.layer_decay=1.1"),
    (FinetuneOptimConfig, {"label_smoothing": 2.0}, "optim.label_smoothing=2.0"),
    (FinetuneOptimConfig, {"mixup": -1.0}, "optim.mixup=-1.0"),
]


@pytest.mark.parametrize(("kind", "values", "message"), REFUSED)
def test_values_that_cannot_be_are_refused_by_their_name(kind, values, message):
    with pytest.raises(UserError, match=message) as info:
        kind(**values)
    assert "\n" not in str(info.value)
