"""The shapes in the signatures, executed: wrong ones are refused, right ones pass."""

import pytest
import torch
from beartype import beartype
from jaxtyping import TypeCheckError, jaxtyped

from ssl_swin.models import losses, masking
from ssl_swin.models.classifier import Classifier
from ssl_swin.models.decoder import PixelDecoder
from ssl_swin.models.simmim import SimMIM
from ssl_swin.models.swin import SwinEncoder
from ssl_swin.models.targets.normalised_pixels import normalise_locally


def checked(function):
    return jaxtyped(typechecker=beartype)(function)


IMAGES = torch.randn(2, 3, 64, 96)
MASK = masking.random_mask(torch.arange(2), 0, 0, (4, 6), 15)
PIXELS = masking.to_pixels(MASK, 16)


def test_the_shapes_in_the_signatures_hold():
    encoder = SwinEncoder(
        "swin_tiny_patch4_window7_224",
        img_size=(64, 96),
        window_size=4,
        embed_dim=16,
        depths=(2, 2),
        num_heads=(2, 4),
    )
    model = SimMIM(encoder, 16)
    checked(masking.random_mask)(torch.arange(2), 0, 0, (4, 6), 15)
    checked(masking.to_tokens)(MASK, 4)
    checked(masking.to_pixels)(MASK, 16)
    checked(normalise_locally)(IMAGES, 7)
    checked(losses.masked_error_per_image)(IMAGES, IMAGES, PIXELS)
    checked(losses.masked_mean)(torch.ones(2), PIXELS.sum((1, 2)), 3)
    checked(losses.l1)(IMAGES, IMAGES)
    checked(SwinEncoder.stages)(encoder, IMAGES, masking.to_tokens(MASK, 4))
    checked(SwinEncoder.finish)(encoder, encoder.stages(IMAGES)[-1])
    features = checked(SwinEncoder.forward)(encoder, IMAGES, masking.to_tokens(MASK, 4))
    checked(PixelDecoder.forward)(model.decoder, features)
    checked(SimMIM.forward)(model, IMAGES, MASK)
    checked(SimMIM.error_sum)(model, IMAGES, MASK)
    checked(SimMIM.random_mask)(model, torch.arange(2))
    checked(SimMIM.reconstruct)(model, IMAGES, MASK)
    checked(SimMIM.error_per_image)(model, IMAGES, MASK)
    classifier = Classifier(encoder, 5)
    checked(Classifier.features)(classifier, IMAGES)
    checked(Classifier.forward)(classifier, IMAGES)


def test_a_mask_of_another_size_than_the_image_is_noticed():
    with pytest.raises(TypeCheckError):
        checked(losses.masked_error_per_image)(IMAGES, IMAGES, PIXELS[:, :-1])


def test_a_mask_that_is_not_boolean_is_noticed():
    with pytest.raises(TypeCheckError):
        checked(masking.to_pixels)(MASK.int(), 16)
