"""timm's Swin as SimMIM, written down in the most ordinary way: what ours is timed against."""

import timm
from torch import Tensor, nn

from ssl_swin.models.masking import to_pixels, to_tokens
from ssl_swin.models.simmim import SimMIM
from ssl_swin.pretrained.timm import to_timm


class Plain(nn.Module):
    """A copy of our network, computed by timm's code; called as ours is, it returns the loss.

    Source:
        SimMIM code, models/simmim.py: the mask multiplies, the loss is a masked mean.
    """

    def __init__(self, ours: SimMIM) -> None:
        super().__init__()
        sizes = ours.encoder.architecture()
        name = sizes.pop("name")
        self.backbone = timm.create_model(name, num_classes=0, drop_path_rate=0.0, **sizes)
        self.backbone.load_state_dict(to_timm(ours.encoder.state_dict()))
        self.mask_token = nn.Parameter(ours.encoder.get_parameter("mask_token").detach().clone())
        stride = ours.encoder.stride
        conv = nn.Conv2d(ours.encoder.num_features, stride**2 * 3, kernel_size=1)
        conv.load_state_dict(ours.decoder.conv.state_dict())
        self.decoder = nn.Sequential(conv, nn.PixelShuffle(stride))
        self.mask_patch_size, self.patch_size = ours.mask_patch_size, ours.encoder.patch_size

    def forward(self, images: Tensor, mask: Tensor) -> Tensor:
        """Return the loss; the mask is in mask patches, True where hidden."""
        hidden = to_tokens(mask, self.mask_patch_size // self.patch_size).unsqueeze(-1).float()
        pixels = to_pixels(mask, self.mask_patch_size).unsqueeze(1).float()
        x = self.backbone.patch_embed(images)
        x = x * (1 - hidden) + self.mask_token * hidden
        x = self.backbone.norm(self.backbone.layers(x)).permute(0, 3, 1, 2)
        error = (images - self.decoder(x)).abs() * pixels
        return error.sum() / (pixels.sum() + 1e-5) / 3

    def blocks(self) -> list[nn.Module]:
        """Return the blocks of all stages."""
        return [block for stage in self.backbone.layers for block in stage.blocks]
