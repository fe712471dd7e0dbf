import pytest

from ssl_swin.config.finetuning import FinetuningConfig
from ssl_swin.errors import UserError

REFUSED = [
    ({"focal_gamma": -1.0}, "finetune.focal_gamma=-1.0 must be 0 or more"),
    ({"head_epochs": -1}, "finetune.head_epochs=-1 must be 0 or more"),
    ({"head_epochs": 1, "freeze": "encoder"}, "finetune.head_epochs=1 needs more to train later"),
    ({"freeze": -1}, "finetune.freeze=-1 must be 0 or more"),
]


@pytest.mark.parametrize(("values", "message"), REFUSED)
def test_values_that_cannot_be_are_refused_by_their_name(values, message):
    with pytest.raises(UserError, match=message):
        FinetuningConfig(**values)
