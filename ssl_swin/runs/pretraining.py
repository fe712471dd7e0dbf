"""Config -> what learns in a pretraining."""

from collections.abc import Iterator

from ssl_swin.config.run import PretrainConfig
from ssl_swin.models.lookup import look_up
from ssl_swin.models.masking import MASKS, grid
from ssl_swin.models.normalise import Normalisation
from ssl_swin.models.simmim import SimMIM
from ssl_swin.runs.from_encoder import px
from ssl_swin.runs.network import build_simmim, smaller_networks
from ssl_swin.runs.resume import Start
from ssl_swin.runs.weights import take_weights
from ssl_swin.runs.without_effect import without_effect
from ssl_swin.training.learner import Schedule
from ssl_swin.training.masks import Masking
from ssl_swin.training.pretrain import PretrainModule
from ssl_swin.training.progressive import Size
from ssl_swin.training.trainer import say


def pretrain_module(config: PretrainConfig, schedule: Schedule, start: Start) -> PretrainModule:
    """Build SimMIM with the weights that a new run begins with; a checkpoint's come later.

    Raises:
        UserError: If there is no such network, or sizes do not fit each other.
    """
    simmim = build_simmim(config, start.teacher)
    if start.state is None and (told := without_effect(config)) is not None:
        say(told)
    loaded = take_weights(simmim.encoder, config) if start.state is None else None
    masking = _masking(config, simmim, config.model.img_size)
    module = PretrainModule(simmim, Normalisation.of(config.data), masking, schedule)
    module.loaded, module.layer_decay = loaded, config.optim.layer_decay
    if config.training.best != "none":
        module.best_metric = f"best_{config.training.best}"
    if config.progressive:
        module.sizes = tuple(_smaller(config, module, start))
        each = [(px(one.network.encoder.img_size), one.until_step) for one in module.sizes]
        smaller = ", ".join(f"{size} until step {step:,}" for size, step in each)
        say(f"images: {smaller}, then {px(simmim.encoder.img_size)}")
    return module


def _masking(config: PretrainConfig, simmim: SimMIM, img_size: int | tuple[int, int]) -> Masking:
    mask, size = config.mask, config.mask.mask_patch_size
    kind, patches = look_up(MASKS, "mask.kind", mask.kind), grid(img_size, size)
    return Masking(size, patches, mask.mask_ratio, config.seed, kind, simmim.leaves_out)


def _smaller(config: PretrainConfig, module: PretrainModule, start: Start) -> Iterator[Size]:
    """Yield the networks for smaller images, which share the weights of the module's."""
    networks = smaller_networks(config, module.network, start.teacher)
    for one, network in zip(config.progressive, networks, strict=True):
        masking = _masking(config, network, one.img_size)
        yield Size(one.until_epoch * module.schedule.steps_per_epoch, network, masking)
