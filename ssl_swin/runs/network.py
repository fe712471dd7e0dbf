"""Config -> network: what a config says of the model, with torch and without Lightning."""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

from torch import nn

from ssl_swin.config.model import HeadConfig
from ssl_swin.config.run import FinetuneConfig, PretrainConfig, RunConfig
from ssl_swin.models.classifier import Classifier
from ssl_swin.models.decoder import Decoder
from ssl_swin.models.decoders import DECODERS
from ssl_swin.models.encoder import Encoder, build_encoder
from ssl_swin.models.freezing import freeze
from ssl_swin.models.heads import Head, StageShape, stage_shapes
from ssl_swin.models.hiding import Token
from ssl_swin.models.lookup import look_up
from ssl_swin.models.losses import find_loss
from ssl_swin.models.masking import MASKS, grid, hidden_by
from ssl_swin.models.no_mask import no_mask
from ssl_swin.models.simmim import SimMIM
from ssl_swin.models.targets import TARGETS, Target
from ssl_swin.models.targets.target import as_target
from ssl_swin.models.targets.teacher import Teacher
from ssl_swin.runs.computing import compute_as_asked, fuse_as_asked
from ssl_swin.runs.teacher import open_teacher


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


def build_simmim(config: PretrainConfig, teacher: Teacher | None = None) -> SimMIM:
    """As `build_network`, for pretraining; a teacher that is not given is opened if there is one.

    Raises:
        MachineError: If the weights of the teacher cannot be fetched.
    """
    mask, size = config.mask, config.mask.mask_patch_size
    how = look_up(MASKS, "mask.kind", mask.kind)
    hidden_by(how, grid(config.model.img_size, size), mask.mask_ratio)  # may refuse
    kinds = [(f"heads[{n}].", one.target, one.loss) for n, one in enumerate(config.heads)]
    for where, target, loss in kinds or [("", config.target.kind, config.loss)]:
        look_up(TARGETS, f"{where}target" if where else "target.kind", target)
        find_loss(f"{where}loss", loss)
    look_up(DECODERS, "decoder.kind", config.decoder.kind)
    encoder = _encoder(config)
    options = asdict(config.target) | {"teacher": teacher or open_teacher(config)}
    make_target = TARGETS[options.pop("kind")]
    if config.heads:
        heads = _heads(config, stage_shapes(encoder), options)
    else:
        made = as_target(make_target(**options, stride=encoder.stride))
        error = find_loss("loss", config.loss, config.loss_beta)
        everywhere = config.target.where == "everywhere"
        heads = [Head(made, error, decoder=_decoder(config), everywhere=everywhere)]
    token: Token = "unused" if how is no_mask else mask.token
    network = SimMIM(encoder, size, heads=heads, token=token)
    for decoder in network.all_decoders():
        fuse_as_asked(decoder, config.training)
        if isinstance(decoder, Decoder):
            decoder.convolves = config.model.implementation == "timm"
    return network


def _heads(config: PretrainConfig, shapes: list[StageShape], options: dict[str, Any]) -> list[Head]:
    """Return what is predicted from each stage; one that is not there has the last one's shape.

    Heads that predict the same have one target.
    """
    heads: list[Head] = []
    made, names = dict[tuple[Any, ...], Target](), _head_names(config)
    for one in config.heads:
        own = {"stride": shapes[min(one.stage, len(shapes)) - 1].stride}
        if one.cell_size is not None:
            own["cell_size"] = one.cell_size
        key = (one.target, *own.items())
        if key not in made:
            made[key] = as_target(TARGETS[one.target](**options | own))
        loss = find_loss("loss", one.loss, config.loss_beta)
        everywhere = (one.where or config.target.where) == "everywhere"
        decoder = _decoder(config, one.decoder_dim)
        how = one.stage, one.weight, names[len(heads)], one.at, decoder, everywhere
        heads.append(Head(made[key], loss, *how))
    return heads


def _head_names(config: PretrainConfig) -> list[str]:
    """Return what their losses are called: stage and target, and a number where these are alike.

    Heads that are alike in all but weight and width keep one name, and are refused.
    """

    def name(one: HeadConfig) -> str:
        return f"stage{one.stage}{'' if one.at == 'end' else '_start'}_{one.target}"

    def key(one: HeadConfig) -> tuple[Any, ...]:
        own = one.cell_size or config.target.cell_size, one.where or config.target.where
        return (name(one), one.loss, *own)

    names, keys = [name(one) for one in config.heads], [key(one) for one in config.heads]
    return [
        f"{its}_{number}" if names.count(its) > 1 and keys.count(its_key) == 1 else its
        for number, (its, its_key) in enumerate(zip(names, keys, strict=True))
    ]


def _decoder(config: PretrainConfig, dim: int | None = None) -> Callable[..., nn.Module]:
    """Return what makes a decoder, of its own width if that is given."""
    options = asdict(config.decoder) | ({} if dim is None else {"dim": dim})
    return partial(DECODERS[options.pop("kind")], **options)


def build_classifier(config: FinetuneConfig) -> Classifier:
    """As `build_network`, for fine-tuning; also refuses to freeze what is not there."""
    classifier = Classifier(_encoder(config), config.counted_classes)
    freeze(classifier.encoder, config.finetune.freeze)
    return classifier


def _encoder(config: RunConfig) -> Encoder:
    encoder = build_encoder(in_chans=len(config.data.mean), **asdict(config.model))
    compute_as_asked(encoder, config.training)
    return encoder
