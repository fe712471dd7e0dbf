"""Whether the images of a run are what its settings of bands say, before anything is waited for."""

from ssl_swin.data.batches.stream import ImageStream
from ssl_swin.data.pixels.decode import UnreadableImage
from ssl_swin.data.shards.reader import some_images
from ssl_swin.errors import UserError

_NUM_LOOKED_AT = 4  # images, of which all would have to be broken


def require_bands(*streams: ImageStream | None) -> None:
    """Refuse settings of bands that no image looked at fits, before anything is waited for.

    Raises:
        UserError: If so; it says why the first is none.
    """
    for stream in streams:
        if stream is not None and stream.renderer.reading.bands is not None:
            _require(stream)


def _require(stream: ImageStream) -> None:
    why = []
    for data in some_images(stream.shards, _NUM_LOOKED_AT):
        try:
            stream.renderer.decode(stream.renderer.prepare(data, 0, 0))
            return
        except UnreadableImage as error:
            why.append(str(error))
    where = stream.shards.storage.where(0)
    raise UserError(
        f"{where}: none of {len(why)} images looked at can be read: {why[0]}; see data.dtype, "
        "data.channels and data.channel_axis, or give other shards"
    )
