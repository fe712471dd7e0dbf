"""Numbers that are a hash of what they are for, in integers, so that all devices agree on them."""

import torch
from jaxtyping import Int64
from torch import Tensor

GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)  # this and the next two as int64 has them
_MULTIPLY_1 = 0xBF58476D1CE4E5B9 - (1 << 64)
_MULTIPLY_2 = 0x94D049BB133111EB - (1 << 64)
_WORD = (1 << 64) - 1


def image_keys(
    purpose: int, seed: int, epoch: int | Int64[Tensor, " batch"], index: Int64[Tensor, " batch"]
) -> Int64[Tensor, " batch"]:
    """Return each image's key: a hash of all of these, on the device of `index`."""
    signed_seed = ((seed + (1 << 63)) & _WORD) - (1 << 63)
    purpose_key = mix(torch.tensor(purpose, device="cpu") + GOLDEN)
    seed_key = int(mix((purpose_key ^ signed_seed) + GOLDEN))
    epochs = torch.as_tensor(epoch, dtype=torch.int64, device=index.device)  # () or (batch,)
    epoch_key = mix((epochs ^ seed_key) + GOLDEN)  # () or (batch,)
    return mix(index * GOLDEN + epoch_key)


def mix(word: Int64[Tensor, "*shape"]) -> Int64[Tensor, "*shape"]:
    """Hash each integer.

    Source:
        SplitMix64's finaliser (Steele, Lea and Flood, "Fast splittable pseudorandom number
        generators", 2014).
    """
    # int64 multiplication wraps on every device; its right shift copies the sign, which is cut off
    word = (word ^ ((word >> 30) & (_WORD >> 30))) * _MULTIPLY_1
    word = (word ^ ((word >> 27) & (_WORD >> 27))) * _MULTIPLY_2
    return word ^ ((word >> 31) & (_WORD >> 31))


def draws(
    keys: Int64[Tensor, " batch"], number: int, after: int = 0
) -> Int64[Tensor, "batch number"]:
    """Return so many numbers of 63 bits for each key: those that come after the first ones."""
    place = torch.arange(after, after + number, dtype=torch.int64, device=keys.device)
    return mix(keys[:, None] + (place + 1) * GOLDEN) & ((1 << 63) - 1)  # without the sign bit
