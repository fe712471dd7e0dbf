import numpy as np
import pytest
import torch

from ssl_swin.errors import UserError
from ssl_swin.models.classifier import Classifier
from ssl_swin.pretrained.load import load_classifier, load_encoder
from ssl_swin.pretrained.mismatch import PretrainedMismatch
from tests.pretrained.runs import PIXELS


def test_features_are_the_mean_over_positions_as_under_a_classifiers_head(run):
    folder, encoder = run
    loaded = load_encoder(folder)
    assert (loaded.training, loaded.img_size, loaded.in_chans) == (False, (64, 64), 3)
    images = loaded.preprocess(list(PIXELS.permute(0, 2, 3, 1).numpy()))
    with torch.no_grad():
        features = loaded(images)
        assert features.shape == (2, loaded.num_features)
        assert torch.equal(features, Classifier(encoder, 2).features(images))
        assert torch.equal(loaded.maps(images), encoder(images))
        assert torch.equal(loaded.maps(images).mean((2, 3)), features)
        for ours, wanted in zip(loaded.stages(images), encoder.stages(images), strict=True):
            assert torch.equal(ours, wanted)


def test_uint8_pixels_are_normalised_first(run):
    loaded = load_encoder(run[0])
    with torch.no_grad():
        assert torch.equal(loaded(PIXELS), loaded(loaded.preprocess.normalise(PIXELS)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_it_computes_in_the_type_of_its_weights_and_under_autocast(run, dtype):
    loaded = load_encoder(run[0])
    with torch.no_grad():
        wanted = loaded(PIXELS)
        features = loaded.to(dtype)(PIXELS)
        assert features.dtype == dtype
        torch.testing.assert_close(features.float(), wanted, rtol=0.1, atol=0.1)
        with torch.autocast("cpu", torch.bfloat16):
            assert load_encoder(run[0])(PIXELS).isfinite().all()


def test_gradients_flow_for_whoever_wants_them(run):
    loaded = load_encoder(run[0])
    loaded(PIXELS).sum().backward()
    assert loaded.encoder.backbone.patch_embed.proj.weight.grad is not None


@pytest.mark.parametrize("images", ["a.jpg", PIXELS[0], [PIXELS]])
def test_what_is_no_batch_is_told_of_preprocess(run, images):
    with pytest.raises(UserError, match="preprocess"):
        load_encoder(run[0])(images)


def test_images_of_another_size_are_refused(run):
    with pytest.raises(ValueError, match="this encoder takes"):
        load_encoder(run[0])(PIXELS[:, :, :32])


def test_a_classifier_gives_logits_and_names_with_probabilities(finetuned):
    folder, classifier = finetuned
    loaded = load_classifier(folder)
    assert (loaded.classes, loaded.training) == (("cat", "dog", "owl"), False)
    assert loaded.preprocess.crop_pct == 0.9
    images = loaded.preprocess(PIXELS)
    with torch.no_grad():
        logits = loaded(images)
        assert torch.equal(logits, classifier(images))
        assert torch.equal(loaded.features(images), classifier.features(images))
        assert torch.equal(loaded(PIXELS), classifier(loaded.preprocess.normalise(PIXELS)))
    predictions = loaded.predict(PIXELS, batch_size=1)
    assert len(predictions) == 2
    for row, prediction in zip(logits.softmax(1), predictions, strict=True):
        order = row.argsort(descending=True).tolist()
        assert prediction.names == tuple(loaded.classes[n] for n in order)
        np.testing.assert_allclose(prediction.probabilities, row[order].tolist(), rtol=1e-5)
    assert loaded.predict(PIXELS, top_k=1)[1].names == predictions[1].names[:1]
    assert len(loaded.half().predict(PIXELS[0])) == 1


def test_predictions_name_the_image_that_is_none_by_its_place_among_all(finetuned):
    loaded = load_classifier(finetuned[0])
    with pytest.raises(UserError, match=r"images\[2\] 'no.jpg': cannot be read"):
        loaded.predict([*PIXELS, "no.jpg"], batch_size=2)
    with pytest.raises(UserError, match="top_k=0 and batch_size=32 must be at least 1"):
        loaded.predict(PIXELS, top_k=0)
    with pytest.raises(PretrainedMismatch, match="no such run folder or file"):
        load_classifier("no/such/run")
