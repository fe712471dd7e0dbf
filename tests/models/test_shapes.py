"""The shapes in the signatures, executed: wrong ones are refused, right ones pass."""

import pytest
import torch
from beartype import beartype
from jaxtyping import TypeCheckError, jaxtyped

from ssl_swin.models import hashing, losses, masking
from ssl_swin.models.block_mask import block_mask
from ssl_swin.models.classifier import Classifier
from ssl_swin.models.decoder import Decoder, DecoderShape
from ssl_swin.models.heads import Head
from ssl_swin.models.simmim import SimMIM
from ssl_swin.models.square_mask import square_mask
from ssl_swin.models.swin import SwinEncoder
from ssl_swin.models.targets.coarse_pixels import mean_of_cells
from ssl_swin.models.targets.hog import SOBEL, directions, gradients, histograms
from ssl_swin.models.targets.normalised_pixels import normalise_locally
from ssl_swin.models.targets.target import Target
from ssl_swin.models.targets.teacher import at_grid, whitened_features
from ssl_swin.models.transformer_decoder import TransformerDecoder, sin_cos
from tests.models.targets.kinds import tiny_teacher


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
    checked(masking.to_cells)(MASK, 16, 8)
    checked(block_mask)(torch.arange(2), 0, 0, (4, 6), 15)
    checked(square_mask)(torch.arange(2), torch.arange(2), 0, (4, 6), 15)
    checked(hashing.draws)(torch.arange(2), 5, after=3)
    checked(normalise_locally)(IMAGES, 7)
    checked(mean_of_cells)(IMAGES, 8)
    checked(histograms)(IMAGES, 8, 9)
    checked(gradients)(IMAGES, SOBEL)
    checked(directions)(IMAGES, IMAGES, 9)
    checked(whitened_features)(IMAGES, tiny_teacher(3, (64, 96)), 8)
    checked(at_grid)(IMAGES, (8, 8))
    checked(Target.known)(Target(lambda images: images, 8, reach=1), IMAGES > 0)
    checked(losses.masked_error_per_image)(IMAGES, IMAGES, PIXELS)
    checked(losses.masked_mean)(torch.ones(2), PIXELS.sum((1, 2)), 3)
    for loss in losses.LOSSES.values():
        checked(loss)(IMAGES, IMAGES)
    checked(losses.hidden_px)(PIXELS, IMAGES > 0)
    checked(SwinEncoder.stages)(encoder, IMAGES, masking.to_tokens(MASK, 4))
    checked(SwinEncoder.finish)(encoder, encoder.stages(IMAGES)[-1])
    features = checked(SwinEncoder.forward)(encoder, IMAGES, masking.to_tokens(MASK, 4))
    checked(Decoder.forward)(model.decoder, features)
    shape = DecoderShape(features.shape[1], 8, 3, True, (8, 12))
    deeper = TransformerDecoder(shape, 8, 1, 2, "sin-cos")
    checked(TransformerDecoder.forward)(deeper, features)
    checked(sin_cos)((2, 3), 8)
    checked(SwinEncoder.starts_and_stages)(encoder, IMAGES, masking.to_tokens(MASK, 4))
    checked(SimMIM.forward)(model, IMAGES, MASK)
    checked(SimMIM.error_sum)(model, IMAGES, MASK)
    checked(SimMIM.random_mask)(model, torch.arange(2))
    checked(SimMIM.reconstruct)(model, IMAGES, MASK)
    checked(SimMIM.error_per_image)(model, IMAGES, MASK)
    checked(SimMIM.errors_per_image)(model, IMAGES, MASK, IMAGES > 0)
    checked(SimMIM.error_sums)(model, IMAGES, MASK, IMAGES > 0)
    checked(SimMIM.num_counted)(model, MASK, IMAGES > 0)
    checked(SimMIM.predict)(model, IMAGES, MASK)
    checked(SimMIM.total)(model, torch.ones(1, 2))
    checked(Head.counted)(model.heads[0], MASK, model.mask_patch_size)
    classifier = Classifier(encoder, 5)
    checked(Classifier.features)(classifier, IMAGES)
    checked(Classifier.forward)(classifier, IMAGES)


def test_a_mask_of_another_size_than_the_image_is_noticed():
    with pytest.raises(TypeCheckError):
        checked(losses.masked_error_per_image)(IMAGES, IMAGES, PIXELS[:, :-1])


def test_a_mask_that_is_not_boolean_is_noticed():
    with pytest.raises(TypeCheckError):
        checked(masking.to_pixels)(MASK.int(), 16)
