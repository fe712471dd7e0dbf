"""A cache of timm's weights, as its own download leaves it, and no network."""

import safetensors.torch
import timm
import torch

_COMMIT = "0" * 40


def without_network(monkeypatch, folder):
    """Let timm look for weights in a folder of its own, and ask nobody else."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder))
    monkeypatch.setattr("timm.models._hub.HF_HUB_CACHE", str(folder), raising=False)


def fill(folder, name, seed=0):
    """Put weights under a name of timm's into such a folder; return model and file."""
    torch.manual_seed(seed)
    model = timm.create_model(name).eval()
    repository = timm.get_pretrained_cfg(name).hf_hub_id.replace("/", "--")
    place = folder / f"models--{repository}"
    file = place / "snapshots" / _COMMIT / "model.safetensors"
    file.parent.mkdir(parents=True, exist_ok=True)
    (place / "refs").mkdir(exist_ok=True)
    (place / "refs" / "main").write_text(_COMMIT)
    safetensors.torch.save_file(model.state_dict(), file)
    return model, file
