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
        UserError: If a window or a parameter is another there: it depends on the size of images.
    """
    there, like = dict(of.named_modules()), next(of.parameters())
    for name, module in network.named_modules():
        windows = [getattr(one, "window_size", None) for one in (module, there[name])]
        if windows[0] != windows[1]:  # of which no weight of a Swin V2 tells
            raise _differs(f"{name}.window_size", *windows)
        for key, own in list(module.named_parameters(recurse=False)):
            shared = there[name].get_parameter(key)
            if own.shape != shared.shape:
                raise _differs(f"{name}.{key}", list(own.shape), list(shared.shape))
            setattr(module, key, shared)
        for key, buffer in list(module.named_buffers(recurse=False)):
            dtype = like.dtype if buffer.is_floating_point() else buffer.dtype
            setattr(module, key, buffer.to(like.device, dtype))
    network.train(of.training)


def _differs(name: str, there: object, here: object) -> UserError:
    return UserError(
        f"{name} is {there} there, and {here} of images of model.img_size; choose sizes of which "
        "every stage has the same windows, and a network that learns nothing of the places of an "
        "image"
    )


def resized(
    images: Float[Tensor, "batch chans height width"], img_size: tuple[int, int]
) -> Float[Tensor, "batch chans new_height new_width"]:
    """Return normalised images with so many rows and columns, each by itself."""
    if tuple(images.shape[2:]) == img_size:
        return images
    return functional.interpolate(images, img_size, mode="bilinear", antialias=True)
