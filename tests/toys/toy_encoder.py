"""An encoder of a few convolutions. Its line in the table: ENCODERS["toy"] = ToyEncoder."""

import torch
from torch import nn


class ToyEncoder(nn.Module):
    """Two layers of convolutions on patches, then half the positions in each axis."""

    def __init__(
        self, name="toy", img_size=32, in_chans=3, drop_path_rate=0.0, patch_size=4, embed_dim=8
    ):
        super().__init__()
        self.name, self.in_chans, self.patch_size = name, in_chans, patch_size
        self.img_size = (img_size, img_size) if isinstance(img_size, int) else tuple(img_size)
        self.stride, self.num_features, self.num_layers = 2 * patch_size, embed_dim, 2
        self.stem = nn.Conv2d(in_chans, embed_dim, patch_size, patch_size)
        self.hidden = nn.Parameter(torch.zeros(embed_dim, 1, 1))
        self.place = nn.Parameter(torch.zeros(embed_dim, 1, 1))
        self.layers = nn.ModuleList(
            [nn.Conv2d(embed_dim, embed_dim, 3, stride, padding=1) for stride in (1, 2)]
        )
        self.drop = nn.Dropout2d(drop_path_rate)
        self.norm = nn.GroupNorm(1, embed_dim)

    def forward(self, images, token_mask=None):
        return self.norm(self.stages(images, token_mask)[-1])

    def stages(self, images, token_mask=None):
        x, maps = self.stem(images), []
        if token_mask is not None:
            x = torch.where(token_mask.unsqueeze(1), self.hidden.to(x.dtype), x)
        x = x + self.place
        for layer in self.layers:
            x = self.drop(nn.functional.gelu(layer(x)))
            maps.append(x)
        return maps

    def layer_of(self, parameter_name):
        if parameter_name.startswith("layers."):
            return int(parameter_name.split(".")[1]) + 1
        return self.num_layers + 1 if parameter_name.startswith("norm.") else 0

    def no_decay(self):
        return {"hidden", "place"}

    def mask_parameters(self):
        return {"hidden"}

    def position_tables(self):
        return {}

    def architecture(self):
        return {
            "name": self.name,
            "img_size": list(self.img_size),
            "in_chans": self.in_chans,
            "patch_size": self.patch_size,
            "embed_dim": self.num_features,
        }
