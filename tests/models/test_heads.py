from dataclasses import replace
from functools import partial

import pytest
import torch

from ssl_swin.errors import UserError
from ssl_swin.models.encoder import build_encoder
from ssl_swin.models.heads import Head, make_decoders, output_shape, stage_shapes, taps
from ssl_swin.models.losses import cosine, l1, l2
from ssl_swin.models.masking import random_mask
from ssl_swin.models.simmim import SimMIM
from ssl_swin.models.targets import TARGETS
from tests.models.test_simmim import tiny
from tests.toys.toy_encoder import ToyEncoder

PIXELS, HOG, COARSE = (TARGETS[name](cell_size=8) for name in ("pixels", "hog", "coarse_pixels"))
GREY = replace(PIXELS, num_chans=lambda _: 1)
HEADS = (Head(PIXELS, l1, 1, 0.5, "a"), Head(HOG, l2, 2, 2.0, "b"), Head(COARSE, l1, 2, 1.0, "c"))


@pytest.fixture
def images():
    return torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def mask():
    return random_mask(torch.arange(3), 0, 0, (4, 4), 10)


def test_each_stage_has_its_channels_and_its_stride():
    encoder = tiny(img_size=(64, 96))
    before = [value.clone() for value in encoder.state_dict().values()]
    assert stage_shapes(encoder) == [(16, 4), (32, 8)]
    assert output_shape(encoder) == (32, 8)
    assert all(
        torch.equal(*pair) for pair in zip(before, encoder.state_dict().values(), strict=True)
    )


def test_the_loss_is_the_sum_of_all_by_their_weights(images, mask):
    model = SimMIM(tiny(), 16, heads=HEADS)
    predictions = model.predict(images, mask)
    assert [one.shape[1:] for one in predictions] == [(3, 64, 64), (27, 8, 8), (3, 8, 8)]
    wanted = []
    for head, prediction in zip(HEADS, predictions, strict=True):
        cells = 16 // head.target.cell_size
        hidden = mask.repeat_interleave(cells, 1).repeat_interleave(cells, 2)[:, None]
        error = head.loss(head.target(images), prediction)
        wanted.append(error[hidden.expand_as(error)].mean())
    total = 0.5 * wanted[0] + 2 * wanted[1] + wanted[2]
    torch.testing.assert_close(model(images, mask), total)
    errors = model.errors_per_image(images, mask)
    torch.testing.assert_close(errors.mean(1), torch.stack(wanted))
    torch.testing.assert_close(model.error_per_image(images, mask).mean(), total)


def test_a_head_at_the_last_stage_alone_is_the_usual_one(images, mask):
    torch.manual_seed(0)
    plain = SimMIM(tiny(), 16)
    torch.manual_seed(0)
    listed = SimMIM(tiny(), 16, heads=[Head(PIXELS, l1, 2)])
    assert {*plain.state_dict()} ^ {*listed.state_dict()} == {
        *(f"decoder.conv.{one}" for one in ("weight", "bias")),
        *(f"decoders.0.conv.{one}" for one in ("weight", "bias")),
    }
    assert torch.equal(plain(images, mask), listed(images, mask))


def test_micro_batches_of_several_heads_add_up(images, mask):
    model, images = SimMIM(tiny(), 16, heads=HEADS).double(), images.double()
    num = [3 * one for one in model.positions(10, 16)]
    assert num == [30 * 256, 30 * 4, 30 * 4]
    sums = sum(model.error_sums(images[part], mask[part]) for part in (slice(1), slice(1, 3)))
    torch.testing.assert_close(model.total(model.means(sums, num)), model(images, mask))


def test_what_is_not_there_counts_for_no_head(images, mask):
    model = SimMIM(tiny(), 16, heads=HEADS)
    there = torch.ones_like(images, dtype=torch.bool)
    there[0, :, :20, :20] = False
    assert torch.equal(
        torch.stack(model.num_counted(mask)).double(),
        torch.stack(model.num_counted(mask, there | True)),
    )
    nowhere = torch.zeros_like(there)
    assert (model.errors_per_image(images, mask, nowhere) == 0).all()
    wrong = torch.where(there, images, 1e6)
    # a target that is no number where there is none: only what comes of it alone may change
    few = [one.tolist() for one in model.num_counted(mask, there)]
    assert few[1][0] < 40
    assert few[1][1:] == [40, 40]
    with torch.no_grad():
        seen = model.predict(images, mask)
    for place, head in enumerate(HEADS):
        same = head.target(wrong) == head.target(images)
        assert same[head.target.known(there).expand_as(same)].all()
        assert seen[place].isfinite().all()


@pytest.mark.parametrize(
    ("heads", "told"),
    [
        ([Head(PIXELS, stage=3)], r"heads\[0\].stage=3, and the encoder has 2; give 1 to 2"),
        ([Head(PIXELS, stage=1)], "no head is at the end of stage 2, the last"),
        ([Head(PIXELS, stage=2, at="start")], "no head is at the end of stage 2, the last"),
        ([Head(HOG), Head(HOG, stage=1, name="y", at="start")], "a position of stage 1 has 4"),
        ([Head(PIXELS, stage=2, name="x"), Head(HOG, stage=2, name="x")], "two heads are x"),
        ([Head(HOG, stage=2), Head(HOG, stage=1, name="y")], "a position of stage 1 has 4"),
        ([Head(replace(HOG, cell_size=3), stage=2)], "a position of stage 2 has 8"),
        ([Head(GREY, cosine, 2)], "cosine of a target that has one number .* choose another loss"),
    ],
)
def test_heads_that_do_not_fit_are_refused(heads, told):
    with pytest.raises(UserError, match=told):
        SimMIM(tiny(), 16, heads=heads)


def test_cells_that_are_hidden_in_part_are_refused():
    with pytest.raises(UserError, match="mask_patch_size=4 hides parts of them"):
        SimMIM(tiny(), 4, HOG)
    with pytest.raises(UserError, match="a position of the encoder's output has 8"):
        make_decoders(tiny(), [Head(replace(HOG, cell_size=16))], 16)


def test_an_encoder_that_does_not_say_how_it_ends_has_one_head_at_most():
    encoder = partial(ToyEncoder, "toy", 16, 3)
    SimMIM(encoder(), encoder().stride)
    with pytest.raises(UserError, match="the encoder toy has no method `finish`"):
        SimMIM(encoder(), encoder().stride, heads=[Head(PIXELS, stage=2)])


def test_a_head_sees_the_start_of_a_stage_or_its_end(images, mask):
    torch.manual_seed(0)
    heads = (*HEADS, Head(HOG, l2, 2, 1.0, "d", "start"))
    model = SimMIM(tiny(), 16, heads=heads)
    seen = taps(model.encoder, heads, images)
    starts, ends = model.encoder.starts_and_stages(images)
    assert seen[3] is not seen[1]
    assert torch.equal(seen[3], starts[1])
    assert torch.equal(seen[0], ends[0])
    assert torch.equal(seen[1], model.encoder(images))
    assert [decoder.norm is not None for decoder in model.decoders] == [True, False, False, True]

    def learning(weight):
        """The parameters that get a gradient, with such a weight of every head but the last."""
        model.zero_grad()
        model.total(model.errors_per_image(images, mask) * weight).sum().backward()
        return {name for name, one in model.encoder.named_parameters() if one.grad.any()}

    blocks = {f"backbone.layers.1.blocks.{n}.mlp.fc1.weight" for n in (0, 1)}
    assert blocks <= learning(torch.ones(4, 1))
    of_the_start = learning(torch.tensor([[0.0], [0.0], [0.0], [1.0]]))
    assert {"backbone.layers.1.downsample.reduction.weight", "mask_token"} <= of_the_start
    assert not blocks & of_the_start


@pytest.mark.parametrize(
    ("encoder", "told"),
    [
        (partial(tiny, implementation="timm"), "model.implementation=timm gives no map"),
        (partial(build_encoder, "vit_tiny_patch16_224", 64, 3), "has no method `starts_and_stages"),
    ],
)
def test_an_encoder_without_starts_has_no_head_there(encoder, told):
    encoder = encoder()
    with pytest.raises(UserError, match=told):
        SimMIM(encoder, 16, heads=[Head(PIXELS), Head(PIXELS, stage=2, name="y", at="start")])
