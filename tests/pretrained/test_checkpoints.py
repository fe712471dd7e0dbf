"""Encoders in checkpoints of Lightning, which writes them here, and of DeepSpeed, by its layout.

pytorch-caney has both. DeepSpeed is not installed: a file is made as its sources describe it.
"""

import pytest
import pytorch_lightning as pl
import timm
import torch
import transformers
from torch import nn
from torchvision.models import SwinTransformer

from ssl_swin.pretrained.mismatch import PretrainedMismatch
from ssl_swin.pretrained.open import find_weights, open_encoder

SIZES = {"img_size": 32, "window_size": 4, "embed_dim": 16, "depths": (1, 1), "num_heads": (1, 2)}


def timms():
    return timm.create_model("swin_tiny_patch4_window7_224", num_classes=3, **SIZES)


def torchvisions():
    return SwinTransformer([4, 4], 16, [1, 1], [1, 2], [4, 4], num_classes=3)


def transformers_():
    return transformers.SwinForImageClassification(
        transformers.SwinConfig(
            image_size=32, window_size=4, embed_dim=16, depths=[1, 1], num_heads=[1, 2]
        )
    )


NETWORKS = {"timm": timms, "torchvision": torchvisions, "transformers": transformers_}


class Training(pl.LightningModule):
    """As pytorch-caney: the network below model.encoder, with a decoder beside it."""

    def __init__(self, network):
        super().__init__()
        self.save_hyperparameters({"config": {"lr": 1e-3}})
        self.model = nn.ModuleDict({"encoder": network, "decoder": nn.Linear(2, 2)})

    def training_step(self, batch):
        return self.model["decoder"](batch).sum()

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters())


@pytest.fixture(params=NETWORKS)
def network(request):
    torch.manual_seed(0)
    return NETWORKS[request.param]().eval()


def features(network, images):
    with torch.no_grad():
        if isinstance(network, SwinTransformer):
            return network.norm(network.features(images))
        if hasattr(network, "swin"):
            return network.swin(images).last_hidden_state.unflatten(1, (4, 4))
        return network.forward_features(images)


def assert_is_found(network, path, where):
    opened = open_encoder(path)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        found = opened.encoder.eval()(images).permute(0, 2, 3, 1)
    torch.testing.assert_close(found, features(network, images), rtol=0, atol=1e-5)
    assert opened.report.where.startswith(where)
    assert any("decoder" in name for name in opened.report.dropped)


@pytest.mark.filterwarnings("ignore:The `srun` command is available")  # where SLURM is installed
@pytest.mark.filterwarnings("ignore:.*train_dataloader. does not have many workers")
@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # of Lightning, with newer torch
def test_an_encoder_is_found_in_lightnings_checkpoint(network, tmp_path):
    training = Training(network)
    trainer = pl.Trainer(
        max_steps=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        barebones=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    training.train()
    trainer.fit(training, torch.utils.data.DataLoader(torch.randn(2, 2)))
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    assert_is_found(
        training.model["encoder"].cpu().eval(), tmp_path / "last.ckpt", "state_dict.model.encoder."
    )


@pytest.mark.parametrize("folder", ["", "checkpoint", "global_step7"])
def test_an_encoder_is_found_in_deepspeeds_checkpoint(network, tmp_path, folder):
    """A folder of Lightning's has one tag, `checkpoint`; DeepSpeed's own the newest in `latest`."""
    training = Training(network)
    (tmp_path / folder).mkdir(exist_ok=True)
    if folder:
        (tmp_path / "latest").write_text(folder)
    state = {f"_forward_module.{name}": value for name, value in training.state_dict().items()}
    content = {
        "module": state if folder == "checkpoint" else training.state_dict(),
        "buffer_names": ["x"],
        "optimizer": None,
        "param_shapes": [{"x": torch.Size([2, 2])}],
        "ds_version": "0.17",
        "dp_world_size": 8,
        "ds_config": {"zero_optimization": {"stage": 2}},
    }
    torch.save(content, tmp_path / folder / "mp_rank_00_model_states.pt")
    assert_is_found(network, tmp_path, "module.")
    assert_is_found(network, tmp_path / folder / "mp_rank_00_model_states.pt", "module.")


def test_parts_of_zeros_third_stage_are_refused(tmp_path):
    state = {name: torch.zeros(0) for name in timms().state_dict()}
    torch.save({"module": state}, tmp_path / "zero_pp_rank_0_mp_rank_00_model_states.pt")
    with pytest.raises(PretrainedMismatch, match=r"has shape \(0,\), and in a Swin it has 4 axes"):
        find_weights(tmp_path / "zero_pp_rank_0_mp_rank_00_model_states.pt")
