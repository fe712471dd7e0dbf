"""What is asked of frozen features."""

import pytest

from ssl_swin.data.labelling.attach import Asked
from ssl_swin.errors import UserError
from ssl_swin.features.asking import Asking


def test_labels_are_of_a_field_or_a_file():
    assert Asking(label_field="kind").asked_labels == Asked(field="kind")
    assert Asking(labels="l.csv").asked_labels == Asked(file="l.csv")


def test_a_negative_seed_is_refused():
    with pytest.raises(UserError, match="seed=-1"):
        Asking(seed=-1)
