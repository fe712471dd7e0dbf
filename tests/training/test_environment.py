import json

import torch

from ssl_swin import __version__
from ssl_swin.training.environment import environment


def test_a_life_tells_what_it_runs_on_in_plain_words():
    found = environment(torch.device("cpu"))
    assert (found["ssl-swin"], found["torch"]) == (__version__, str(torch.__version__))
    assert found["processor"].endswith("cores")
    assert "GPU" not in found
    assert json.loads(json.dumps(found)) == found
    assert all(type(value) is str for value in found.values())


def test_a_life_says_which_gpus_it_sees(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"A100 of {device}")
    found = environment(torch.device("cuda", 0))
    assert found["GPU"] == "8 x A100 of cuda:0"
    assert found["CUDA"]
