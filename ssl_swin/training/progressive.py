"""Smaller images in the first steps: networks for other sizes, which share one set of weights."""

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from ssl_swin.errors import UserError
from ssl_swin.models.simmim import SimMIM
from ssl_swin.training.masks import Masking


class Size(NamedTuple):
    """A network for images of a size, and until which step it learns."""

    until_step: int
    network: SimMIM
    masking: Masking


def share_weights(network: nn.Module, of: nn.Module) -> None:
    """Give a network the parameters of another, and its mode; what it knows of sizes stays its own.

    Its buffers go to where the parameters are, in their precision.

    Raises:
        UserError: If one is of another shape there: it depends on the size of images.
    """
    there = {name: dict(one.named_parameters(recurse=False)) for name, one in of.named_modules()}
    like = next(of.parameters())
    for name, module in network.named_modules():
        for key, own in list(module.named_parameters(recurse=False)):
            if own.shape != there[name][key].shape:
                raise UserError(
                    f"{name}.{key} is {list(own.shape)} there, and {list(there[name][key].shape)} "
                    "of images of model.img_size; choose sizes of which every stage has the same "
                    "windows, and a network that learns nothing of the places of an image"
                )
            setattr(module, key, there[name][key])
        for key, buffer in list(module.named_buffers(recurse=False)):
            dtype = like.dtype if buffer.is_floating_point() else buffer.dtype
            setattr(module, key, buffer.to(like.device, dtype))
    network.train(of.training)


def resized(
    images: Float[Tensor, "batch chans height width"], img_size: tuple[int, int]
) -> Float[Tensor, "batch chans new_height new_width"]:
    """Return normalised images with so many rows and columns, each by itself."""
    if tuple(images.shape[2:]) == img_size:
        return images
    return functional.interpolate(images, img_size, mode="bilinear", antialias=True)
