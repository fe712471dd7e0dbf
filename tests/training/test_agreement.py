import torch.distributed as dist

from ssl_swin.training.agreement import Agreement
from tests.training.launch import PROCESSES, finish

HANDED_IN = [[0, 3, -5], [2, 0, -4], [1, 1, -9]]


def agree(place, rank, world_size):
    from datetime import timedelta

    dist.init_process_group("gloo", init_method=f"file://{place}", rank=rank, world_size=world_size)
    agreement = Agreement(world_size, timedelta(minutes=1))
    for extra in (0, 10):
        agreement.start([value + extra for value in HANDED_IN[rank]])
        largest = [max(column) for column in zip(*HANDED_IN[:world_size], strict=True)]
        assert agreement.wait() == [value + extra for value in largest]
    dist.destroy_process_group()


def test_all_ranks_learn_the_largest_of_what_they_handed_in(tmp_path):
    for world_size in (2, 3):
        place = tmp_path / str(world_size)
        processes = [
            PROCESSES.Process(target=agree, args=(place, rank, world_size))
            for rank in range(world_size)
        ]
        for process in processes:
            process.start()
        assert finish(processes) == {0}


def test_one_process_agrees_with_itself():
    agreement = Agreement(1, None)
    agreement.start([4, -2])
    assert agreement.wait() == [4, -2]
