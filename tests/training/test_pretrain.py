import pytest
import torch

from ssl_swin.models.heads import Head
from ssl_swin.models.losses import l1, l2
from ssl_swin.models.simmim import SimMIM
from ssl_swin.models.targets import TARGETS
from ssl_swin.models.targets.coarse_pixels import coarse_pixels
from ssl_swin.models.targets.target import Target
from ssl_swin.training.optim import clip
from tests.training.tiny import BATCH, batches, learner


def test_the_loss_is_the_mean_error_over_the_hidden_pixels_of_the_global_batch():
    module, (batch,) = learner(), batches(1)
    images = module.normalise(batch["image"])
    mask = module.masking.draw(batch["index"], batch["epoch"])
    hidden = mask.repeat_interleave(8, 1).repeat_interleave(8, 2)[:, None]
    with torch.no_grad():
        error = (module.network.reconstruct(images, mask) - images).abs()
        loss = float(module.loss(batch))
    assert loss == pytest.approx(float(error[hidden].mean()), rel=1e-6)
    assert hidden.sum() == BATCH * module.masking.num_hidden * 8**2


def test_a_step_asks_the_device_for_no_number():
    module, (batch,) = learner(drop_path_rate=0.5).to("meta"), batches(1)
    share = {name: value.to("meta") for name, value in batch.items()}
    for start in range(0, BATCH, 4):  # a device without memory answers no question
        module.loss(module.micro_batch(share, start, start + 4)).backward()
    assert clip(list(module.parameters()), 5.0).is_meta


def test_held_out_images_are_measured_with_the_masks_of_epoch_0():
    module, (batch,) = learner(), batches(1)
    later = batch | {"epoch": batch["epoch"] + 5}
    with torch.no_grad():
        (first,), (again,) = (module.measure(one).values() for one in (batch, later))
        loss = float(module.loss(batch))  # of epoch 0, too
    assert first.dtype == torch.float64
    assert first == again
    assert float(first) / BATCH == pytest.approx(loss, rel=1e-6)


def test_a_reconstruction_is_pixels_and_the_masks_that_were_used():
    module, (batch,) = learner(), batches(1)
    with torch.no_grad():
        found = module.reconstruct(batch["image"], batch["index"])
        mask = module.masking.draw(batch["index"], 0)
        error = module.network.error_per_image(module.normalise(batch["image"]), mask)
    assert (found.pixels.dtype, found.pixels.shape) == (torch.uint8, batch["image"].shape)
    assert torch.equal(found.mask, mask)
    assert found.target is batch["image"]
    torch.testing.assert_close(found.loss, error)


def test_another_target_is_shown_as_pixels_too():
    module, (batch,) = learner(), batches(1)
    (head,) = module.network.heads
    less = Target(lambda images: images - 1)  # half of what there is from black to white
    module.network.heads = (head._replace(target=less),)
    with torch.no_grad():
        target = module.reconstruct(batch["image"], batch["index"]).target
    expected = (batch["image"].double() - 127.5).clamp(min=0)
    assert (target.double() - expected).abs().max() <= 0.5


def test_of_several_heads_the_last_picture_is_shown_as_large_as_the_image():
    module, (batch,) = learner(), batches(1)
    kinds = (TARGETS["pixels"](), coarse_pixels(4), TARGETS["hog"](8))
    heads = [Head(target, stage=stage) for target, stage in zip(kinds, (1, 2, 2), strict=True)]
    heads = [head._replace(name=str(place)) for place, head in enumerate(heads)]
    module.network = SimMIM(module.network.encoder, 8, heads=heads).double()
    with torch.no_grad():
        found = module.reconstruct(batch["image"], batch["index"])
        images, mask = module.normalise(batch["image"]), module.masking.draw(batch["index"], 0)
        errors = module.network.errors_per_image(images, mask)
    assert found.pixels.shape == found.target.shape == batch["image"].shape
    means = batch["image"].double().unflatten(3, (4, 4)).unflatten(2, (4, 4)).mean((3, 5))
    assert (found.target[..., ::4, ::4].double() - means).abs().max() <= 0.5
    torch.testing.assert_close(found.loss, errors[1])


def test_of_several_heads_each_is_measured_by_its_name():
    module, (batch,) = learner(), batches(1)
    target = TARGETS["pixels"]()
    heads = [Head(target, l1, 1, 0.5, "fine"), Head(target, l2, 2, 2.0, "coarse")]
    module.network = SimMIM(module.network.encoder, 8, heads=heads).double()
    with torch.no_grad():
        found, loss = module.measure(batch), module.loss(batch)
    assert {*found} == {"heldout_loss", "heldout_loss_fine", "heldout_loss_coarse"}
    total = 0.5 * found["heldout_loss_fine"] + 2 * found["heldout_loss_coarse"]
    torch.testing.assert_close(found["heldout_loss"], total)
    assert module.part_names == ("loss_fine", "loss_coarse")
    torch.testing.assert_close(0.5 * module.parts[0] + 2 * module.parts[1], loss)
