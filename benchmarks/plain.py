"""The plain side of `step.py`: timm's Swin trained in the most ordinary way."""

from contextlib import nullcontext

import timm
import torch
from torch import Tensor, nn

from ssl_swin.models.simmim import SimMIM
from ssl_swin.pretrained.timm import to_timm

LR, WEIGHT_DECAY, CLIP_GRAD = 1e-4, 0.05, 5.0


class Plain(nn.Module):
    """timm's Swin as SimMIM, as one would write it down.

    Source:
        SimMIM code, models/simmim.py: the mask multiplies, the loss is a masked mean.
    """

    def __init__(self, ours: SimMIM) -> None:
        super().__init__()
        sizes = ours.encoder.architecture()
        name = sizes.pop("name")
        self.backbone = timm.create_model(name, num_classes=0, drop_path_rate=0.0, **sizes)
        self.backbone.load_state_dict(to_timm(ours.encoder.state_dict()))
        self.mask_token = nn.Parameter(ours.encoder.mask_token.detach().clone())
        stride = ours.encoder.stride
        conv = nn.Conv2d(ours.encoder.num_features, stride**2 * 3, kernel_size=1)
        conv.load_state_dict(ours.decoder.conv.state_dict())
        self.decoder = nn.Sequential(conv, nn.PixelShuffle(stride))

    def forward(self, images: Tensor, token_mask: Tensor, pixel_mask: Tensor) -> Tensor:
        """Return the loss; masks are floats, 1 where hidden."""
        x = self.backbone.patch_embed(images)
        hidden = token_mask.unsqueeze(-1)
        x = x * (1 - hidden) + self.mask_token * hidden
        x = self.backbone.norm(self.backbone.layers(x)).permute(0, 3, 1, 2)
        error = (images - self.decoder(x)).abs() * pixel_mask.unsqueeze(1)
        return error.sum() / (pixel_mask.sum() + 1e-5) / 3


class PlainTraining:
    """Forward, backward, clip, AdamW with its defaults."""

    def __init__(self, model: Plain, batch: tuple[Tensor, Tensor, Tensor], bf16: bool) -> None:
        self.model, self.batch, self.bf16 = model, batch, bf16
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=WEIGHT_DECAY)

    def step(self) -> Tensor:
        device = self.batch[0].device.type
        self.optimizer.zero_grad()
        with torch.autocast(device, torch.bfloat16) if self.bf16 else nullcontext():
            loss = self.model(*self.batch)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), CLIP_GRAD)
        self.optimizer.step()
        return loss.detach()
