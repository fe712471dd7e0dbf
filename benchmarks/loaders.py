"""Other loaders, as their own documentation has them used, for `stream.py` to time."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import webdataset
from PIL import Image
from torch.utils.data import Dataset
from torchvision import transforms

SCALE, RATIO = (0.67, 1.0), (3 / 4, 4 / 3)  # SimMIM's pretraining crops
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

Batches = Iterator[object]


class Official(Dataset):
    """A folder of JPEGs as SimMIM's code reads it: PIL, torchvision, floats, the mask in NumPy."""

    def __init__(self, folder: Path, img_size: int, passes: int = 1) -> None:
        self.paths = sorted(folder.rglob("*.jpg")) * passes
        self.side = img_size // 32
        self.transform = plain_transform(img_size)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, place: int) -> tuple[torch.Tensor, np.ndarray]:
        with self.paths[place].open("rb") as file:
            image = Image.open(file).convert("RGB")
        mask = np.zeros(self.side**2, dtype=int)
        mask[np.random.permutation(len(mask))[: int(np.ceil(len(mask) * 0.6))]] = 1  # noqa: NPY002
        mask = mask.reshape(self.side, self.side).repeat(8, axis=0).repeat(8, axis=1)
        return self.transform(image), mask


def plain_transform(img_size: int) -> transforms.Compose:
    return transforms.Compose(
        [
            transforms.RandomResizedCrop(img_size, scale=SCALE, ratio=RATIO),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )


def plain_webdataset(folder: Path, img_size: int, passes: int) -> webdataset.WebDataset:
    """The pipeline of WebDataset's own examples."""
    shards = sorted(map(str, folder.glob("*.tar"))) * passes
    dataset = webdataset.WebDataset(shards, shardshuffle=False)
    return dataset.decode("pil").to_tuple("jpg").map_tuple(plain_transform(img_size))


def dali(folder: Path, img_size: int, batch: int) -> Batches:
    """DALI on the CPU, one thread, without running ahead."""
    from nvidia.dali import fn, pipeline_def, types

    @pipeline_def
    def images() -> object:
        data = fn.readers.webdataset(paths=sorted(map(str, folder.glob("*.tar"))), ext=["jpg"])
        area, aspect = list(SCALE), list(RATIO)
        pixels = fn.decoders.image_random_crop(data, random_area=area, random_aspect_ratio=aspect)
        pixels = fn.resize(pixels, size=[img_size, img_size], interp_type=types.INTERP_TRIANGULAR)
        pixels = fn.flip(pixels, horizontal=fn.random.coin_flip())
        return fn.transpose(pixels, perm=[2, 0, 1])

    pipeline = images(
        batch_size=batch,
        num_threads=1,
        device_id=None,
        prefetch_queue_depth=1,
        exec_async=False,
        exec_pipelined=False,
    )
    pipeline.build()
    while True:
        yield pipeline.run()[0].as_array()


def litdata(out: Path, img_size: int, batch: int) -> Batches:
    """The format of litdata, which keeps JPEGs as they are and decodes them by torchvision."""
    from litdata import StreamingDataLoader, StreamingDataset, optimize
    from torchvision.transforms import v2

    folder = out / "litdata"
    if not folder.exists():
        paths = [str(path) for path in sorted((out / "photographs").rglob("*.jpg"))]
        optimize(Image.open, paths, str(folder), chunk_bytes="64MB", num_workers=1)
    transform = v2.Compose(
        [
            v2.RandomResizedCrop(img_size, scale=SCALE, ratio=RATIO, antialias=True),
            v2.RandomHorizontalFlip(),
        ]
    )
    dataset = StreamingDataset(str(folder), transform=transform)
    while True:
        yield from StreamingDataLoader(dataset, batch_size=batch, num_workers=0)
