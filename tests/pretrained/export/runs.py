"""What the tests of all formats hold against our own features."""

import re

import torch

from ssl_swin.__main__ import run as command

IMAGES = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def exported(source, name, folder, *words):
    """Export by the command, which has to say that it did; return the folder."""
    assert command(["export", str(source), "--format", name, "-o", str(folder), *words]) == 0
    return folder


@torch.no_grad()
def ours(network, images=IMAGES):
    """The features of an encoder, or the logits of a classifier."""
    output = network.eval()(images)
    return output if output.ndim == 2 else output.mean((2, 3))


def close(theirs, network, within=1e-5, images=IMAGES):
    """Hold what a library computes against what we do."""
    torch.testing.assert_close(theirs, ours(network, images), rtol=0, atol=within)


def ran(python, folder, monkeypatch):
    """Run the lines of Python that a folder's README shows, in that folder; return its names."""
    names = {}
    monkeypatch.chdir(folder)
    exec(python, names)
    return names


def shown(folder):
    """The lines of Python in a folder's README."""
    (python,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.S)
    return python
