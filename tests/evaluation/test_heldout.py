from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader

from ssl_swin.data.batches.batch import collate
from ssl_swin.data.order.shares import EvaluationShares
from ssl_swin.data.pixels.formats import decode
from ssl_swin.evaluation.confusion import draw_confusion
from ssl_swin.evaluation.heldout import NUM_OF, RIGHT_OF, measure
from ssl_swin.evaluation.measures import confusion_matrix
from ssl_swin.evaluation.mistakes import NUM_SHOWN, Mistake, draw_mistakes
from ssl_swin.record.run_folder import RunFolder
from ssl_swin.record.summary import read_summary
from tests.training.launch import finetune_config, pretrain_config, train
from tests.training.tiny import built


class Brightness(nn.Module):
    """Measures the sum of its images, and notes what it was given."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.seen = []

    def measure(self, batch):
        assert not self.training
        assert not torch.is_grad_enabled()
        self.seen += batch["index"].tolist()
        return {"brightness": (self.weight * batch["image"]).double().sum()}


def batch(index, bad=()):
    index = torch.tensor(index)
    replaced = torch.tensor([i if i in bad else -1 for i in index.tolist()])
    return {"image": index.float(), "index": index, "replaced": replaced}


def test_what_stands_in_for_an_unreadable_image_is_left_out():
    module = Brightness()
    found = measure(module, [batch([0, 1, 2], bad=[1]), batch([3, 4]), batch([5], bad=[5])])
    assert (found.num_measured, found.num_left_out) == (4, 2)
    assert found.means() == {"brightness": (0 + 2 + 3 + 4) / 4}
    assert module.seen[:4] == [0, 2, 3, 4]


def test_a_part_without_a_readable_image_knows_the_names_all_the_same():
    found = measure(Brightness(), [batch([7, 8], bad=[7, 8])])
    assert (found.num_measured, found.num_left_out) == (0, 2)
    assert found.sums == {"brightness": 0}
    assert np.isnan(found.means()["brightness"])


def test_the_sums_of_parts_are_those_of_the_whole():
    batches = [batch([0, 1, 2]), batch([3, 4], bad=[4]), batch([5])]
    whole = measure(Brightness(), batches)
    parts = [measure(Brightness(), batches[:1]), measure(Brightness(), batches[1:])]
    for name in ("num_measured", "num_left_out"):
        assert sum(getattr(part, name) for part in parts) == getattr(whole, name)
    assert sum(part.sums["brightness"] for part in parts) == whole.sums["brightness"]


class Guesses(nn.Module):
    """Guesses class 0 for every image; their classes are 0, 0, 0, 2 of three."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def measure(self, batch):
        of_class = nn.functional.one_hot(torch.tensor([0, 0, 0, 2])[batch["index"]], 3).double()
        right = of_class * torch.tensor([1.0, 0.0, 0.0])
        return {NUM_OF: of_class.sum(0), RIGHT_OF: right.sum(0)}


def test_a_balanced_top1_counts_each_class_that_has_images_alike():
    found = measure(Guesses(), [batch([0, 1]), batch([2, 3])])
    assert found.means() == {"balanced_top1": 50.0}  # 100 % and 0 %; the third has no image
    nothing = measure(Guesses(), [batch([0], bad=[0])])
    assert np.isnan(nothing.means()["balanced_top1"])


@pytest.mark.parametrize("training", [True, False])
def test_a_module_is_left_in_the_mode_it_was_in(training):
    module, calls = Brightness().train(training), []
    measure(module, [batch([0]), batch([1])], on_batch=lambda: calls.append(1))
    assert module.training is training
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("configure", "devices"), [(pretrain_config, 1), (finetune_config, 1), (finetune_config, 3)]
)
def test_without_a_trainer_the_numbers_are_those_of_the_run_s_summary(
    tmp_path, tiny_shards, configure, devices
):
    mode = "L" if configure is pretrain_config else "RGB"
    shards = tiny_shards([40, 21], broken={3, 60}, mode=mode)
    config = configure(tmp_path / "run", shards, micro_batch_size=7, devices=devices)
    data = replace(config.data, num_lanes=6, max_bad_share=0.5)
    config = replace(config, data=data, optim=replace(config.optim, epochs=2, warmup_epochs=1))
    summary = read_summary(RunFolder(train(config)))

    run = built(config)
    heldout = run.datamodule.heldout
    shares = EvaluationShares(np.arange(len(heldout.stream)), heldout.batch_size, 0, 1)
    found = measure(
        run.module, DataLoader(heldout.stream, batch_sampler=shares, collate_fn=collate)
    )
    assert (found.num_measured, found.num_left_out) == (59, 2)
    means = found.means()
    tolerance = 0 if devices == 1 else 1e-12  # sums of ranks are added up in another order
    assert means["heldout_loss"] == pytest.approx(summary.heldout_loss, rel=tolerance, abs=0)
    for name in ("top1", "top5", "balanced_top1"):
        assert means.get(name) == getattr(summary, name)
    if configure is finetune_config:
        assert_pictures_are_of(found.answers, run)


def assert_pictures_are_of(answers, run):
    """Whether the pictures that ranks drew together show what one process finds."""
    answers, folder, classes = answers.numpy(), run.start.folder, run.start.classes
    place, label, said = answers[:, :3].astype(int).T
    assert sorted(place) == [one for one in range(61) if one not in (3, 60)]
    with Image.open(folder.heldout_picture("last", "confusion")) as image:
        title = f"step 4: 59 held-out images, top-1 {100 * (label == said).mean():.1f} %"
        expected = draw_confusion(confusion_matrix(label, said, 10), classes, title)
        assert image.tobytes() == expected.tobytes()
    wrong = answers[label != said]
    worst = wrong[np.lexsort((wrong[:, 0], -wrong[:, 3]))][:NUM_SHOWN]
    stream, shown = run.datamodule.heldout.stream, []
    for index, *kinds, sure in worst:
        where = [int(one[0]) for one in stream.shards.locate(np.array([int(index)]))]
        pixels = decode(stream.reader.read(*where), 3, stream.renderer.reading)
        names = [classes[int(kind)] for kind in kinds]
        shown.append(Mistake(pixels, stream.reader.key(*where), *names, sure))
    with Image.open(folder.heldout_picture("last", "mistakes")) as image:
        heading = f"{title}: the {len(shown)} most confident of {len(wrong)} mistakes"
        assert image.tobytes() == draw_mistakes(shown, heading).tobytes()
