import io
import json
import time

import numpy as np
import pytest
import torch
from PIL import Image

from ssl_swin.data.batches.labels import Labels
from ssl_swin.data.batches.loader import loader
from ssl_swin.data.batches.stream import ImageStream
from ssl_swin.data.open import join, open_shards
from ssl_swin.data.order.lanes import Share
from ssl_swin.data.order.shares import EvaluationShares
from ssl_swin.data.pixels.decode import Reading
from ssl_swin.data.pixels.erasing import erased_box
from ssl_swin.data.pixels.transforms import EvaluationTransform, TrainTransform
from ssl_swin.data.remote.room import release
from ssl_swin.data.shards.reader import ShardReader
from ssl_swin.data.shards.retry import Retry
from ssl_swin.errors import ShardError, UserError
from ssl_swin.shard_tools.verify import broken_samples
from tests.data.remote.faulty import cache_in, remote_set, serving
from tests.data.shards.tars import image_bytes, write_tar

PLAIN = EvaluationTransform(28, crop_pct=1.0)


def stream_of(folder, in_chans=1, labels=None, transform=PLAIN):
    return ImageStream(open_shards(str(folder)), transform, 28, in_chans, labels)


def pixels(folder, place):
    shards = open_shards(str(folder))
    (shard,), (row,) = shards.locate(np.array([place]))
    return np.asarray(Image.open(io.BytesIO(ShardReader(shards).read(shard, row))))


@pytest.mark.parametrize(("mode", "in_chans"), [("L", 1), ("L", 3), ("RGB", 3), ("RGB", 1)])
def test_a_batch_is_whole_uint8_and_says_which_samples_it_holds(tiny_shards, mode, in_chans):
    folder = tiny_shards([4, 0, 3], mode=mode)
    index = np.array([6, 0, 4])
    batch = stream_of(folder, in_chans, Labels(10)).__getitems__(Share(0, index))
    assert set(batch) == {"image", "index", "epoch", "replaced", "label"}
    assert (batch["image"].dtype, batch["image"].shape) == (torch.uint8, (3, in_chans, 28, 28))
    assert batch["image"].is_contiguous()
    for name, expected in {"index": [6, 0, 4], "replaced": [-1] * 3, "label": [6, 0, 4]}.items():
        assert batch[name].dtype == torch.int64
        assert batch[name].tolist() == expected
    if mode == "L":
        for place, image in zip(index, batch["image"].numpy(), strict=True):
            assert (image == pixels(folder, place)).all()


def test_a_stream_without_labels_reads_none(tiny_shards):
    assert "label" not in stream_of(tiny_shards([2])).__getitems__(Share(0, np.arange(2)))


def test_an_unreadable_image_is_replaced_by_the_next_readable_one_of_its_shard(tiny_shards):
    folder = tiny_shards([4, 5], broken={1, 2, 8})
    stream = stream_of(folder, labels=Labels(10))
    assert len(stream) == 9
    batch = stream.__getitems__(Share(0, np.arange(9)))
    assert batch["index"].tolist() == [0, 3, 3, 3, 4, 5, 6, 7, 4]  # 8 is the last: round to 4
    assert batch["replaced"].tolist() == [-1, 1, 2, -1, -1, -1, -1, -1, 8]
    assert batch["label"].tolist() == batch["index"].tolist()  # of the samples that were read
    for place, image in zip(batch["index"], batch["image"], strict=True):
        assert (image[0].numpy() == pixels(folder, int(place))).all()
    alone = stream.__getitems__(Share(0, np.array([2])))  # never depends on what was found before
    assert alone["index"].tolist() == [3]


def test_a_replacement_is_cropped_as_it_is_in_its_own_place(tiny_shards):
    stream = stream_of(tiny_shards([4], {1}), transform=TrainTransform(0, 28, (0.3, 1.0)))
    batch = stream.__getitems__(Share(5, np.array([1, 2])))
    assert torch.equal(batch["image"][0], batch["image"][1])


@pytest.mark.parametrize("num_workers", [0, 2])
def test_what_is_erased_is_of_the_sample_that_was_read(tiny_shards, num_workers):
    transform = TrainTransform(3, 28, (0.3, 1.0), erasing=0.7)
    stream = stream_of(tiny_shards([4, 5], broken={1}), transform=transform)
    shares = EvaluationShares(np.arange(9), 4, 0, 1)
    batches = list(loader(stream, shares, num_workers))
    found = torch.cat([batch["erased"] for batch in batches])
    assert torch.equal(found[1], found[2])
    for place, index in enumerate(torch.cat([batch["index"] for batch in batches]).tolist()):
        assert tuple(found[place].tolist()) == erased_box((28, 28), 0.7, 3, 0, index)
    assert 0 < (found.sum(1) == 0).sum() < 9


def test_a_shard_without_a_readable_image_takes_those_of_the_next(tiny_shards):
    folder = tiny_shards([3, 2, 0, 4], broken={3, 4, 5})
    stream = stream_of(folder, labels=Labels(10))
    places = np.arange(9)
    batch = stream.__getitems__(Share(0, places))
    assert batch["index"].tolist() == [0, 1, 2, 6, 6, 6, 6, 7, 8]  # 3 and 4: of rows 0 and 1
    assert batch["replaced"].tolist() == [-1, -1, -1, 3, 4, 5, -1, -1, -1]
    assert batch["label"].tolist() == batch["index"].tolist()
    for place, image in zip(batch["index"], batch["image"], strict=True):
        assert (image[0].numpy() == pixels(folder, int(place))).all()
    for place in reversed(places):  # never depends on what was found before, or by whom
        alone = (stream_of(folder) if place % 2 else stream).__getitems__(Share(0, places[[place]]))
        assert alone["index"].tolist() == [batch["index"][place]]


def test_after_the_last_shard_comes_the_first_and_a_set_of_nothing_is_told(tiny_shards):
    stream = stream_of(tiny_shards([2, 1, 2], broken={1, 3, 4}))
    assert stream.__getitems__(Share(0, np.array([4])))["index"].tolist() == [0]
    stream = stream_of(tiny_shards([2, 2], broken=range(4)))
    message = r"tiny-000001.tar and its set: none of its 4 images can be decoded"
    for _ in range(2):
        with pytest.raises(ShardError, match=message):
            stream.__getitems__(Share(0, np.array([3])))


def test_a_stand_in_comes_from_the_same_set(tiny_shards):
    good, bad = tiny_shards([2, 2]), tiny_shards([1, 2], broken={1, 2})
    both = join([open_shards(str(folder)) for folder in (bad, good)])
    stream = ImageStream(both, PLAIN, 28, 1)
    assert stream.__getitems__(Share(0, np.array([1, 2, 3])))["index"].tolist() == [0, 0, 3]


def test_a_stand_in_of_a_remote_shard_does_not_fetch_all_of_it(tiny_shards, tmp_path):
    folder = tiny_shards([2, 30], broken={0, 1})
    with serving(folder) as server:
        shards = remote_set(server.url, cache_in(tmp_path))
        stream = ImageStream(shards, PLAIN, 28, 1, Labels(10))
        batch = stream.__getitems__(Share(0, np.array([0, 1])))
        assert (batch["index"].tolist(), batch["label"].tolist()) == ([2, 3], [2, 3])
        assert [path.exists() for path in shards.storage.paths] == [True, False]


def test_a_bad_image_is_named_although_the_cache_is_full(tiny_shards, tmp_path):
    folder = tiny_shards([4, 5], broken={6})
    size = (folder / "tiny-000000.tar").stat().st_size
    with serving(folder) as server:
        cache = cache_in(tmp_path, 1.1 * size, room_wait_s=20)
        shards = remote_set(server.url, cache)
        stream = ImageStream(shards, PLAIN, 28, 1)
        held = shards.storage.hold(0)
        began = time.monotonic()
        name, key, reason = stream.explain(6)
        assert time.monotonic() - began < 10
        release(held)
        assert (name, key) == ("tiny-000001.tar", "000006")
        assert "cannot identify image file" in reason
        assert not shards.storage.paths[1].exists()
        assert stream.explain(5)[1:] == ("000005", "it can be decoded now")


def test_a_server_that_fails_is_the_reason_and_is_asked_twice(tiny_shards, tmp_path):
    waits = []
    retry = Retry(stalled_s=0.5, sleep=waits.append)
    with serving(tiny_shards([4], broken={2})) as server:
        shards = remote_set(server.url, cache_in(tmp_path, retry=retry))
        server.faults["tiny-000000.tar"] = [503]
        name, key, reason = ImageStream(shards, PLAIN, 28, 1).explain(2)
    assert (name, key) == ("tiny-000000.tar", "?")
    assert reason.startswith(f"{server.url}/tiny-000000.tar cannot be fetched after 2 tries in")
    assert waits == [1.0]


def test_a_local_shard_that_is_gone_is_the_reason(tiny_shards):
    folder = tiny_shards([4], broken={2})
    stream = stream_of(folder)
    stream.shards.storage.rows(0)
    (folder / "tiny-000000.tar").unlink()
    assert "No such file" in stream.explain(2)[2]


def test_a_label_that_is_no_class_of_the_model_is_refused(tiny_shards):
    stream = stream_of(tiny_shards([6]), labels=Labels(5))
    assert stream.__getitems__(Share(0, np.array([4])))["label"].tolist() == [4]
    with pytest.raises(
        ShardError, match=r"tiny-000000.tar, sample 5: label 5 .* 0 to 4; set num_classes or"
    ):
        stream.__getitems__(Share(0, np.array([5])))


def test_epochs_show_other_crops_of_the_same_image(tiny_shards):
    stream = stream_of(tiny_shards([1]), transform=TrainTransform(0, 28, (0.3, 1.0)))
    first, second = (stream.__getitems__(Share(epoch, np.array([0]))) for epoch in (0, 1))
    assert not torch.equal(first["image"], second["image"])


def test_the_sample_set_is_read_to_the_end():
    stream = stream_of("data/fashion-mnist-sample/test-*.tar", labels=Labels(10))
    shares = EvaluationShares(np.arange(len(stream)), 500, 0, 1)
    batches = [stream.__getitems__(share) for share in shares]
    assert torch.bincount(torch.cat([b["label"] for b in batches])).tolist() == [200] * 10
    assert all((b["replaced"] == -1).all() for b in batches)


def test_a_shard_of_odd_and_broken_files_is_read_to_the_end(tmp_path):
    whole, jpeg = image_bytes(0, size=(50, 40)), image_bytes(1, "JPEG", (50, 40))
    members = {
        "good.png": whole,
        "empty.png": b"",
        "cut.png": whole[: len(whole) // 2],
        "half.jpg": jpeg[: len(jpeg) // 2],
        "text.jpg": b"<html>404</html>",
        "named_png.png": jpeg,
        "named_jpg.jpg": whole,
        "NAMED_TIF.TIF": image_bytes(2, "WEBP"),
        "last.webp": b"RIFF\xff\xff\xff\xffWEBP",
    }
    write_tar(tmp_path / "a.tar", members.items())
    shards = open_shards(str(tmp_path))
    bad = ["empty", "cut", "half", "text", "last"]
    assert [key for key, _ in broken_samples((shards, 0, Reading()))] == bad
    stream = ImageStream(shards, EvaluationTransform(16), 16, in_chans=3)
    batch = stream.__getitems__(Share(0, np.arange(len(members))))
    assert batch["index"].tolist() == [0, 5, 5, 5, 5, 5, 6, 7, 0]
    assert batch["replaced"].tolist() == [-1, 1, 2, 3, 4, -1, -1, -1, 8]


def test_a_pattern_and_a_size_are_enough(tiny_shards):
    folder = tiny_shards([3, 2], mode="RGB")
    for stream in (
        ImageStream(folder, img_size=32),
        ImageStream(str(folder / "*.tar"), img_size=32),
    ):
        assert (len(stream), stream.in_chans, stream.classes) == (5, 3, None)
        assert stream.renderer.transform == EvaluationTransform(32)
        assert stream[0]["image"].shape == (3, 32, 32)
    assert ImageStream(folder).img_size == 224
    assert ImageStream(folder, TrainTransform(img_size=48)).img_size == 48
    with pytest.raises(UserError, match="img_size=32, but the transform makes 28 pixels"):
        ImageStream(folder, PLAIN, 32)
    with pytest.raises(UserError, match="in_chans=2 must be 1"):
        ImageStream(folder, in_chans=2)
    with pytest.raises(ShardError, match="no/such"):
        ImageStream("no/such")


def test_one_sample_is_what_a_batch_holds_of_it(tiny_shards):
    stream = stream_of(tiny_shards([4, 3], broken={2}), labels=Labels(10))
    batch = stream.read(Share(0, np.arange(7)))
    for place in range(-7, 7):
        sample = stream[place]
        assert sample.keys() == batch.keys()
        assert all(torch.equal(value, batch[name][place]) for name, value in sample.items())
    assert len([*stream]) == 7  # a loop over it ends
    for place in (7, -8):
        with pytest.raises(IndexError, match=f"sample {place} of 7"):
            stream[place]


def test_the_epoch_of_single_samples_is_the_streams(tiny_shards):
    stream = stream_of(tiny_shards([4]), transform=TrainTransform(0, 28, (0.3, 0.5)))
    stream.epoch = 3
    batch = stream.read(Share(3, np.arange(4)))
    assert torch.equal(torch.stack([sample["image"] for sample in stream]), batch["image"])
    assert stream[0]["epoch"] == 3


def test_labels_are_those_of_the_shards_if_asked_for(tiny_shards):
    folder = tiny_shards([12])
    stream = ImageStream(folder, PLAIN, in_chans=1, labels=True)
    assert (stream.labels, stream[3]["label"]) == (Labels(10), 3)
    (folder / "classes.json").write_text(json.dumps([*"abcdefghijklm"]))
    named = ImageStream(folder, PLAIN, in_chans=1, labels=True)
    assert (named.labels, named.classes) == (Labels(13), (*"abcdefghijklm",))
    (folder / "classes.json").write_text(json.dumps(["a", "b"]))
    with pytest.raises(UserError, match="8 of 12 given images have no class of the model"):
        ImageStream(folder, PLAIN, in_chans=1, labels=True)
    assert ImageStream(folder, PLAIN, labels=False).labels is None
