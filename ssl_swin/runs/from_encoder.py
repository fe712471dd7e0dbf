"""The encoder that a fine-tuning begins with: whether it is the same file, its mean and deviation.

Once there is a checkpoint, the weights are in there, and the file is only compared.
"""

from collections.abc import Collection
from pathlib import Path

from ssl_swin.config.run import FinetuneConfig, RunConfig
from ssl_swin.config.settings import unsaid, with_values
from ssl_swin.errors import UserError
from ssl_swin.files import sha256_of
from ssl_swin.pretrained.card import read_card
from ssl_swin.record.run_folder import encoder_file
from ssl_swin.training.checkpoint_file import State

_COLOURS = ("data.mean", "data.std")


def fingerprint(config: RunConfig) -> str | None:
    """Return the SHA-256 of the file of a run's encoder; None without encoder, or without file."""
    file = _file(config)
    return sha256_of(file) if file is not None and file.is_file() else None


def require_same_encoder(state: State, config: RunConfig) -> None:
    """Refuse an encoder other than the one that the run of a checkpoint began with.

    Files are compared, where there is one and the checkpoint knows its own; else their paths are.

    Raises:
        UserError: If it is another one.
    """
    before, now = state["config"].get("encoder"), getattr(config, "encoder", None)
    known: str | None = state.get("encoder")
    found = None if known is None else fingerprint(config)
    if known is None or found is None:
        what, same = "", before == now
    else:
        what, same = f", whose file was another one (SHA-256 {known[:12]})", found == known
    if same:
        return
    raise UserError(
        f"the run began with encoder={before!r}{what}, this config says {now!r}, and weights are "
        "taken from the run's checkpoint; give it the encoder it began with, or start another run"
    )


def with_its_colours(
    config: RunConfig, given: Collection[str], state: State | None
) -> tuple[RunConfig, tuple[str, ...]]:
    """Give a fine-tuning the mean and standard deviation that its encoder was trained with.

    They are those on the encoder's card, or, of a run that goes on, those it began with. Weights
    from elsewhere have no card. Returns the config, and a line if there is something new in it.

    Raises:
        UserError: If the user gave others than are on the card.
    """
    file = _file(config)
    if file is None:
        return config, ()
    free = unsaid(config, given) & {*_COLOURS}
    if state is not None:
        return with_values(config, {name: tuple(state["config"][name]) for name in free}), ()
    card = read_card(file) if file.is_file() else None
    if card is None:
        return config, ()
    wanted = dict(zip(_COLOURS, (card.mean, card.std), strict=True))
    own = dict(zip(_COLOURS, (config.data.mean, config.data.std), strict=True))
    if any(own[name] != wanted[name] for name in {*_COLOURS} - free):
        raise UserError(
            f"data.mean={own['data.mean']} and data.std={own['data.std']}, but the encoder was "
            f"trained with {card.mean} and {card.std}: leave both out, to take those, or give those"
        )
    if own == wanted:
        return config, ()
    line = f"data.mean={card.mean} and data.std={card.std}, as the encoder was trained with"
    return with_values(config, {name: wanted[name] for name in free}), (line,)


def _file(config: RunConfig) -> Path | None:
    if not isinstance(config, FinetuneConfig) or config.encoder is None:
        return None
    return encoder_file(Path(config.encoder))
