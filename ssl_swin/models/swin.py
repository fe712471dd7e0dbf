"""Stop "encode" on the route: a Swin, version 1, with a mask token, as the house knows it."""

from typing import Unpack

from ssl_swin.models.any_swin import AnySwin
from ssl_swin.models.swin_choices import SwinChoices

_TABLE = "backbone.layers.{}.blocks.{}.attn.relative_position_bias_table"


class SwinEncoder(AnySwin):
    """An `Encoder` of scaled dot products, with a table of position bias in every block.

    Weights start as in the official code: linear layers and position tables truncated normal with
    standard deviation 0.02, biases 0, norms 1 and 0, the patch convolution PyTorch's default.

    Source:
        Swin (arXiv:2103.14030).
    """

    def __init__(
        self,
        name: str = "swin_base_patch4_window7_224",
        img_size: int | tuple[int, int] = 192,
        in_chans: int = 3,
        drop_path_rate: float = 0.0,
        **choices: Unpack[SwinChoices],
    ) -> None:
        """Build a Swin (version 1) by timm's name and check that its sizes fit.

        The chance to skip a block's branch, in [0, 1), grows with depth up to `drop_path_rate`.

        Raises:
            UserError: If the sizes do not fit each other, or one of them is no size of a Swin.
        """
        super().__init__(name, img_size, in_chans, drop_path_rate, choices, is_v2=False)

    def no_decay(self) -> set[str]:
        """Return the mask token and what is learned of places."""
        return {*self.mask_parameters(), *self.position_tables(), *self.place_embeddings()}

    def position_tables(self) -> dict[str, tuple[int, int]]:
        """Return each block's table, with the rows and columns of its window."""
        return {
            _TABLE.format(i, j): block.attn.window_size
            for i, stage in enumerate(self.backbone.layers)
            for j, block in enumerate(stage.blocks)
            if getattr(block.attn, "relative_position_bias_table", None) is not None
        }
