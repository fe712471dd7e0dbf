"""Batches in one piece of memory, and what arrives of them in another process."""

import pytest
import torch

from ssl_swin.data.batches.batch import Parcel, collate, empty

SHAPES = {
    "index": ((3,), torch.int64),
    "nothing": ((0, 4), torch.int64),
    "weight": ((2, 5), torch.float32),
    "image": ((3, 1, 5, 7), torch.uint8),
}


def filled():
    batch = empty(SHAPES)
    for place, tensor in enumerate(batch.values()):
        tensor.fill_(place + 1)
    return batch


def test_tensors_have_their_shapes_and_lie_end_to_end_in_one_memory():
    batch = filled()
    assert {name: (tuple(each.shape), each.dtype) for name, each in batch.items()} == SHAPES
    memory = batch["index"].untyped_storage()
    assert {each.untyped_storage().data_ptr() for each in batch.values()} == {memory.data_ptr()}
    assert memory.nbytes() == sum(each.nbytes for each in batch.values())
    for place, tensor in enumerate(batch.values()):  # none was overwritten by another
        assert (tensor == place + 1).all()


@pytest.mark.parametrize("others", [{}, {"files": torch.arange(4, dtype=torch.uint8)}])
def test_a_parcel_is_one_memory_and_arrives_as_the_batch(others):
    batch = filled() | others
    arrive, (memory, shapes, beside) = Parcel(batch).__reduce__()
    assert (shapes, beside.keys()) == (SHAPES, others.keys())
    found = arrive(memory, shapes, beside)
    assert found.keys() == batch.keys()
    assert all(torch.equal(found[name], batch[name]) for name in batch)


def test_in_the_process_that_reads_it_a_batch_is_handed_on_as_it_is():
    batch = filled()
    assert collate(batch) is batch
