"""Stop "encode" on the route: a Swin, version 2, with a mask token, as the house knows it."""

from typing import Any, Unpack

from ssl_swin.models.any_swin import AnySwin
from ssl_swin.models.swin_choices import SwinV2Choices

_SCORES = (".attn.cpb_mlp.", ".attn.logit_scale")


class SwinV2Encoder(AnySwin):
    """An `Encoder` of cosines, whose position bias a small network makes of log-spaced coordinates.

    No weight depends on the window. What does is the scale of the coordinates, the windows of
    pretraining: `pretrained_window_sizes` stay what they were where weights go to other windows.

    Weights start as in the official code, as a `SwinEncoder`'s, but for the norms within blocks,
    which are 0: at first every block hands on what it is given. The scale of cosines is 10.

    Source:
        Swin V2, section 3 (arXiv:2111.09883), and its code, models/swin_transformer_v2.py.
    """

    def __init__(
        self,
        name: str = "swinv2_base_window12_192",
        img_size: int | tuple[int, int] = 192,
        in_chans: int = 3,
        drop_path_rate: float = 0.0,
        **choices: Unpack[SwinV2Choices],
    ) -> None:
        """Build a Swin V2 by timm's name and check that its sizes fit.

        The chance to skip a block's branch, in [0, 1), grows with depth up to `drop_path_rate`.

        Raises:
            UserError: If the sizes do not fit each other, or one of them is no size of a Swin V2.
        """
        super().__init__(name, img_size, in_chans, drop_path_rate, choices, is_v2=True)

    @property
    def pretrained_window_sizes(self) -> tuple[tuple[int, int], ...]:
        """Rows and columns of the window of each stage that its coordinates are scaled by."""
        assert self._pretrained is not None
        return self._pretrained

    def no_decay(self) -> set[str]:
        """Return the mask token, what is learned of places, and what scales scores."""
        return {*self.mask_parameters(), *self.score_parameters(), *self.place_embeddings()}

    def score_parameters(self) -> set[str]:
        """Return the networks that make position bias, and the scales of cosines.

        Source:
            Swin code, models/swin_transformer_v2.py, ``no_weight_decay_keywords``.
        """
        names = (name for name, _ in self.named_parameters())
        return {name for name in names if any(part in name for part in _SCORES)}

    def position_tables(self) -> dict[str, tuple[int, int]]:
        """Return none: tables are made of coordinates, and nothing has to be resized."""
        return {}

    def architecture(self) -> dict[str, Any]:
        """Return it, without drop path, with the windows of pretraining as numbers of each stage.

        They belong to the weights: another window leaves them.
        """
        windows = self.pretrained_window_sizes
        plain = [rows if rows == cols else [rows, cols] for rows, cols in windows]
        return super().architecture() | {"pretrained_window_sizes": plain}
