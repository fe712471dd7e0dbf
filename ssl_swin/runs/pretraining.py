"""Config -> what learns in a pretraining."""

from collections.abc import Iterator
from dataclasses import replace
from operator import gt

from ssl_swin.config.run import PretrainConfig
from ssl_swin.data.pixels.decode import sides
from ssl_swin.errors import UserError
from ssl_swin.models.lookup import look_up
from ssl_swin.models.masking import MASKS, grid
from ssl_swin.models.normalise import Normalisation
from ssl_swin.models.simmim import SimMIM
from ssl_swin.runs.from_encoder import px
from ssl_swin.runs.network import build_simmim
from ssl_swin.runs.resume import Start
from ssl_swin.runs.weights import take_weights
from ssl_swin.training.learner import Schedule
from ssl_swin.training.masks import Masking
from ssl_swin.training.pretrain import PretrainModule
from ssl_swin.training.progressive import Size, share_weights
from ssl_swin.training.trainer import say


def pretrain_module(config: PretrainConfig, schedule: Schedule, start: Start) -> PretrainModule:
    """Build SimMIM with the weights that a new run begins with; a checkpoint's come later.

    Raises:
        UserError: If there is no such network, or sizes do not fit each other.
    """
    _require_their_order(start)
    simmim = build_simmim(config, start.teacher)
    loaded = take_weights(simmim.encoder, config) if start.state is None else None
    masking = _masking(config, simmim)
    module = PretrainModule(simmim, Normalisation.of(config.data), masking, schedule)
    module.loaded, module.layer_decay = loaded, config.optim.layer_decay
    if config.training.best != "none":
        module.best_metric = f"best_{config.training.best}"
    if config.progressive:
        module.sizes = tuple(_smaller(config, module, start))
        each = [(px(one.network.encoder.img_size), one.until_step) for one in module.sizes]
        told = ", ".join(f"{size} until step {step:,}" for size, step in each)
        say(f"images: {told}, then {px(simmim.encoder.img_size)}")
    return module


def _require_their_order(start: Start) -> None:
    """Refuse heads in another order than a checkpoint's, whose decoders would be one another's."""
    before, now = (
        [tuple(one.get(name) for name in ("stage", "at", "target", "cell_size")) for one in heads]
        for heads in start.changes.get("heads", ((), ()))
    )
    for number, head in enumerate(now):
        was = before.index(head) if head in before else number
        if now[was : was + 1] != [head]:
            raise UserError(
                f"heads[{number}] was heads[{was}] in the checkpoint, which has a decoder for each "
                "in their order; leave it there"
            )


def _masking(config: PretrainConfig, simmim: SimMIM) -> Masking:
    mask, size = config.mask, config.mask.mask_patch_size
    kind, patches = look_up(MASKS, "mask.kind", mask.kind), grid(config.model.img_size, size)
    return Masking(size, patches, mask.mask_ratio, config.seed, kind, simmim.leaves_out)


def _smaller(config: PretrainConfig, module: PretrainModule, start: Start) -> Iterator[Size]:
    """Yield the networks for smaller images, which share the weights of the module's."""
    for number, one in enumerate(config.progressive):
        own = replace(config, model=replace(config.model, img_size=one.img_size), progressive=())
        largest = module.network.encoder.img_size
        try:
            if any(map(gt, sides(one.img_size), largest)):
                raise UserError(f"sizes must not be above model.img_size, {px(largest)}")
            network = build_simmim(own, start.teacher)
            share_weights(network, module.network)
            masking = _masking(own, network)
        except UserError as error:
            size = px(sides(one.img_size))
            said = f"progressive[{number}]: {error}; choose another size than {size}"
            raise UserError(said) from error
        yield Size(one.until_epoch * module.schedule.steps_per_epoch, network, masking)
