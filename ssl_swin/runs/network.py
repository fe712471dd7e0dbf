"""Config -> network: what a config says of the model, with torch and without Lightning."""

from dataclasses import asdict

from torch import nn

from ssl_swin.config.run import FinetuneConfig, PretrainConfig, RunConfig
from ssl_swin.models.classifier import Classifier
from ssl_swin.models.encoder import Encoder, build_encoder
from ssl_swin.models.freezing import freeze
from ssl_swin.models.lookup import look_up
from ssl_swin.models.losses import LOSSES
from ssl_swin.models.masking import MASKS, count_hidden, grid
from ssl_swin.models.simmim import SimMIM
from ssl_swin.models.targets import TARGETS
from ssl_swin.runs.computing import compute_as_asked


def build_network(config: RunConfig) -> SimMIM | Classifier:
    """Build the network of a run, with the weights that training starts with.

    Raises:
        UserError: If there is no such network, or it does not fit the images or the masks.
    """
    return build_classifier(config) if isinstance(config, FinetuneConfig) else build_simmim(config)


def checkpoint_bytes(network: nn.Module, config: RunConfig) -> int:
    """Count weights, AdamW's two moments, and the moving average if a run has one.

    The file of a checkpoint has a little more.
    """
    weights = sum(tensor.nbytes for tensor in network.state_dict().values())
    copies = 2 if config.training.ema_decay is None else 3
    return weights + copies * sum(one.nbytes for one in network.parameters() if one.requires_grad)


def build_simmim(config: PretrainConfig) -> SimMIM:
    """As `build_network`, for pretraining."""
    mask, target = config.mask, asdict(config.target)
    look_up(MASKS, "mask.kind", mask.kind)
    count_hidden(grid(config.model.img_size, mask.mask_patch_size), mask.mask_ratio)  # may refuse
    loss = look_up(LOSSES, "loss", config.loss)
    encoder = _encoder(config)
    make_target = look_up(TARGETS, "target.kind", target.pop("kind"))
    network = SimMIM(encoder, mask.mask_patch_size, make_target(**target), loss)
    network.decoder.convolves = config.model.implementation == "timm"
    return network


def build_classifier(config: FinetuneConfig) -> Classifier:
    """As `build_network`, for fine-tuning; also refuses to freeze what is not there."""
    classifier = Classifier(_encoder(config), config.counted_classes)
    freeze(classifier.encoder, config.finetune.freeze)
    return classifier


def _encoder(config: RunConfig) -> Encoder:
    encoder = build_encoder(in_chans=len(config.data.mean), **asdict(config.model))
    compute_as_asked(encoder, config.training)
    return encoder
