from functools import partial

import pytest
import pytorch_lightning
import torch
from torch.utils.data import DataLoader, TensorDataset

from ssl_swin.data.batches.own_loop import make_loader
from ssl_swin.data.batches.stream import ImageStream
from ssl_swin.data.pixels.transforms import TrainTransform
from ssl_swin.errors import UserError
from ssl_swin.models.heads import Head
from ssl_swin.models.simmim import SimMIM
from ssl_swin.models.targets import TARGETS
from ssl_swin.models.transformer_decoder import TransformerDecoder
from ssl_swin.pretrained.load import load_encoder
from ssl_swin.training.own_trainer import pretrain_module
from tests.training.tiny import BATCH, SIZES, batches, fit, learner

pytestmark = [
    pytest.mark.filterwarnings("ignore:The `srun` command is available"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no"),
    pytest.mark.filterwarnings("ignore:.*`isinstance\\(treespec, LeafSpec\\)` is deprecated"),
]
GREY = {"mean": (0.5,), "std": (0.5,)}
AS_LEARNER = {"mask_ratio": 0.5, "warmup_ratio": 0.0, "warmup_lr": 0.0, "min_lr": 0.0}


def tiny(**options):
    torch.manual_seed(0)
    model = SimMIM.of("swin_tiny_patch4_window7_224", in_chans=1, mask_patch_size=8, **SIZES)
    return pretrain_module(model, **GREY, **options)


def plain(**options):
    return pytorch_lightning.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )


def ones_own(num=4 * BATCH, batch_size=BATCH):
    images = torch.cat([batch["image"] for batch in batches(4)])[:num]
    return DataLoader(TensorDataset(images, torch.arange(num)), batch_size)


def test_each_step_is_that_of_a_run():
    ours = learner(base_lr=1e-3)
    fit(ours, 40)
    theirs = tiny(base_lr=1e-3 * 512 / BATCH, **AS_LEARNER)
    theirs.network.load_state_dict(learner().network.state_dict())
    trainer = plain(max_epochs=1, precision="64-true")
    trainer.fit(theirs, DataLoader(batches(40), batch_size=None))
    assert trainer.global_step == 40
    for name, value in theirs.network.state_dict().items():
        torch.testing.assert_close(value, ours.network.state_dict()[name], rtol=1e-9, atol=1e-12)


class Stop(pytorch_lightning.Callback):
    """Stops a training after its first epoch, and saves it."""

    def __init__(self, path):
        self.path = path

    def on_train_epoch_end(self, trainer, *_):
        trainer.save_checkpoint(self.path)
        trainer.should_stop = True


def test_a_training_goes_on_after_an_epoch_with_the_images_and_masks_it_would_have_had(
    tiny_shards, tmp_path
):
    transform = TrainTransform(img_size=16, scale=(0.5, 1.0))
    stream = ImageStream(tiny_shards([20]), transform, in_chans=1)
    whole, first, rest = tiny(), tiny(), tiny()
    plain(max_epochs=2).fit(whole, make_loader(stream, BATCH))
    path = tmp_path / "one.ckpt"
    plain(max_epochs=2, callbacks=[Stop(path)]).fit(first, make_loader(stream, BATCH))
    trainer = plain(max_epochs=2)
    trainer.fit(rest, make_loader(stream, BATCH, start_step=2), ckpt_path=path)
    assert trainer.global_step == 4
    for name, value in rest.network.state_dict().items():
        assert torch.equal(value, whole.network.state_dict()[name]), name
        assert not torch.equal(value, first.network.state_dict()[name]), name


def test_somebodys_loader_and_trainer_are_enough(tmp_path):
    module = tiny(base_lr=0.05)
    trainer = plain(max_epochs=8)
    trainer.validate(module, ones_own(), verbose=False)
    before = trainer.callback_metrics["val_loss"]
    trainer.fit(module, ones_own(), ones_own())
    assert trainer.callback_metrics["val_loss"] < before - 0.01
    features = torch.cat(trainer.predict(module, ones_own()))
    module.save_encoder(tmp_path / "mine.safetensors")
    loaded = load_encoder(tmp_path / "mine.safetensors")
    assert (loaded.card.mean, loaded.card.mask_ratio) == ((0.5,), 0.6)
    images = torch.cat([images for images, _ in ones_own()])
    with torch.no_grad():
        torch.testing.assert_close(loaded(images), features)


class Seen(pytorch_lightning.Callback):
    """Keeps what `draw` was asked for, and the rates."""

    def __init__(self, module):
        self.masks, self.rates = [], []
        self.kind = module.masking.kind
        object.__setattr__(module.masking, "kind", self.draw)

    def draw(self, *asked):
        mask = self.kind(*asked)
        self.masks.append(mask)
        return mask

    def on_train_batch_end(self, trainer, *_):
        self.rates.append(float(trainer.callback_metrics["lr"]))


def test_masks_of_images_without_a_number_differ_by_place_and_epoch_and_come_again():
    def masks(seed=0):
        module = tiny(seed=seed)
        seen = Seen(module)
        plain(max_epochs=2, callbacks=[seen]).fit(module, ones_own())
        return torch.stack(seen.masks)  # (steps, batch, rows, cols)

    first = masks()
    assert first.shape == (8, BATCH, 2, 2)
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[:4], first[4:])
    assert torch.equal(first, masks())
    assert not torch.equal(first, masks(seed=1))


def test_the_rate_follows_the_steps_of_the_trainer_and_all_images_of_one():
    module = tiny(base_lr=1.0, warmup_lr=0.0, min_lr=0.0)
    seen = Seen(module)
    trainer = plain(max_epochs=5, accumulate_grad_batches=2, callbacks=[seen])
    trainer.fit(module, ones_own())
    assert trainer.global_step == 10
    assert len(seen.rates) == 20
    assert seen.rates[0] == 0.0
    peak = 2 * BATCH / 512  # of two batches together
    assert 0.9 * peak < max(seen.rates) <= peak
    assert seen.rates[-1] < 0.1 * peak


def test_the_gradient_is_clipped_as_the_trainer_says_or_else_as_simmim_does(monkeypatch):
    asked = []
    for options in ({}, {"gradient_clip_val": 0.5}):
        module = tiny()
        monkeypatch.setattr(module, "clip_gradients", lambda *given: asked.append(given[1]))
        plain(max_steps=1, **options).fit(module, ones_own())
    assert asked == [5.0, 0.5]


def test_fp16_trains_too():
    module = tiny()
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    half = pytorch_lightning.plugins.MixedPrecision("16-mixed", "cpu", scaler)
    trainer = plain(max_steps=2, plugins=[half])
    trainer.fit(module, ones_own())
    assert all(parameter.isfinite().all() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("batch", "told"),
    [
        (torch.zeros(2, 1, 16, 16, dtype=torch.int64), "images are torch.int64; allowed are uint8"),
        (torch.zeros(2, 16, 16), r"a batch whose images are \(2, 16, 16\); allowed are a tensor"),
        ({"pixels": 1}, "a batch whose images are NoneType"),
        (torch.full((2, 1, 16, 16), 255.0), "float images from 255 to 255 are not normalised"),
    ],
)
def test_what_is_no_batch_of_images_is_one_clear_line(batch, told):
    with pytest.raises(UserError, match=told):
        plain(max_steps=1).fit(tiny(), DataLoader([batch], batch_size=None))


def test_float_images_that_seem_not_to_be_normalised_are_told_of(capsys):
    images = torch.rand(2, 1, 16, 16)
    plain(max_steps=1).fit(tiny(), DataLoader([images], batch_size=None))
    assert "are not normalised: hand over uint8, or (image - mean) / std" in capsys.readouterr().out
    plain(max_steps=1).fit(tiny(), DataLoader([images - 0.5], batch_size=None))
    assert "normalised" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"lr": 1.0}, "unknown lr; allowed are base_lr, "),
        ({"mask_ratio": 1.5}, "mask_ratio=1.5 hides"),
        ({"mean": (0.5, 0.5)}, r"mean=\(0.5, 0.5\) and std=\(0.5,\) must each have 1 numbers"),
    ],
)
def test_options_that_do_not_fit_are_one_clear_line(options, told):
    model = tiny().network
    with pytest.raises(UserError, match=told):
        pretrain_module(model, **(GREY | options))


def test_a_training_without_an_end_is_refused():
    stream = [torch.zeros(2, 1, 16, 16, dtype=torch.uint8)]
    with pytest.raises(UserError, match="the Trainer has no last step"):
        plain(max_epochs=-1).fit(tiny(), DataLoader(stream, batch_size=None))


def test_where_nothing_is_hidden_the_card_tells_of_a_share_of_0(tmp_path):
    encoder = learner().network.encoder.float()
    module = pretrain_module(SimMIM(encoder, 8, token="unused"), **GREY)
    assert not module.masking.draw(torch.arange(3), 0).any()
    module.save_encoder(tmp_path / "encoder.safetensors")
    assert load_encoder(tmp_path / "encoder.safetensors").card.mask_ratio == 0


def test_where_hidden_tokens_are_left_out_each_step_has_one_mask():
    decoder = partial(TransformerDecoder, dim=8, depth=1, num_heads=2, positions="sin-cos")
    encoder = SimMIM.of("swin_tiny_patch4_window7_224", in_chans=1, mask_patch_size=8, **SIZES)
    head = Head(TARGETS["pixels"](), decoder=decoder)
    model = SimMIM(encoder.encoder, 8, heads=[head], token="none")
    module, seen = pretrain_module(model, mask_ratio=0.5, **GREY), []
    predict = model.predict
    model.predict = lambda images, mask: seen.append(mask) or predict(images, mask)
    plain(max_epochs=3).fit(module, ones_own())
    masks = {mask[0].numpy().tobytes() for mask in seen}
    assert all((mask == mask[:1]).all() for mask in seen)
    assert len(seen) == 12
    assert len(masks) > 3  # of the six that 4 patches have
