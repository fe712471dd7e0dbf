"""Config -> network: what a config says of the model, with torch and without Lightning."""

from dataclasses import asdict

from ssl_swin.config.run import FinetuneConfig, PretrainConfig, RunConfig
from ssl_swin.models.classifier import Classifier
from ssl_swin.models.masking import grid, num_hidden
from ssl_swin.models.simmim import SimMIM
from ssl_swin.models.swin import SwinEncoder


def build_network(config: RunConfig) -> SimMIM | Classifier:
    """Build the network of a run, with the weights that training starts with.

    Raises:
        UserError: If there is no such network, or it does not fit the images or the masks.
    """
    if isinstance(config, FinetuneConfig):
        return build_classifier(config)
    return build_simmim(config)


def build_simmim(config: PretrainConfig) -> SimMIM:
    """As `build_network`, for pretraining."""
    mask = config.mask
    num_hidden(grid(config.model.img_size, mask.mask_patch_size), mask.mask_ratio)  # may refuse
    return SimMIM(_encoder(config), mask.mask_patch_size)


def build_classifier(config: FinetuneConfig) -> Classifier:
    """As `build_network`, for fine-tuning."""
    return Classifier(_encoder(config), config.num_classes)


def _encoder(config: RunConfig) -> SwinEncoder:
    return SwinEncoder(in_chans=len(config.data.mean), **asdict(config.model))
