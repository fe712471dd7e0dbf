import errno
import os

import pytest
import torch

from ssl_swin import main_memory
from ssl_swin.training import memory
from ssl_swin.training.memory import described, peak, points_of, ran_out, taken_by_others

CPU = torch.device("cpu")


def failed(act):
    try:
        act()
    except Exception as error:
        return error
    raise AssertionError("it did not fail")


HERE = {
    "torch": (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), (1, 1)),
    "driver": (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be"), (1, 1)),
    "cublas": (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"), (1, 1)),
    "nccl": (RuntimeError("NCCL error: Cuda failure 2 'out of memory'"), (1, 1)),
    "main memory": (failed(lambda: torch.empty(10**15)), (0, 1)),
    "numpy": (MemoryError("Unable to allocate 3 TiB"), (0, 1)),
    "a loader's": (MemoryError("Caught MemoryError in DataLoader worker process 0.\n..."), (0, 0)),
    "a thread's": (RuntimeError("Caught RuntimeError in pin memory thread: out of memory"), (0, 0)),
    "a bug": (RuntimeError("shapes do not match"), (0, 0)),
    "a disk": (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), (0, 0)),
}


@pytest.mark.parametrize("what", HERE)
@pytest.mark.parametrize("on_gpu", [True, False])
def test_it_is_told_whether_the_device_of_training_ran_out(what, on_gpu):
    error, (gpu, cpu) = HERE[what]
    assert ran_out(error, on_gpu) is bool(gpu if on_gpu else cpu)


def test_on_the_cpu_the_peak_is_that_of_the_process():
    (resident,) = peak(CPU).values()
    assert main_memory.resident_bytes() <= resident < main_memory.total_bytes()
    assert points_of({"resident": 1_500_000_000}) == {"memory/peak_resident_gb": 1.5}


def test_a_peak_is_said_with_what_there_is(monkeypatch):
    monkeypatch.setattr(main_memory, "total_bytes", lambda: 16 * 10**9)
    told = "1.5 GB allocated, 2.0 GB reserved at the peak, of 16.0 GB (main memory)"
    assert described({"allocated": 1_500_000_000, "reserved": 2 * 10**9}, CPU) == told


def test_others_have_what_is_neither_free_nor_this_process_s(monkeypatch):
    for name, value in {"total": 16, "available": 10, "resident": 2}.items():
        monkeypatch.setattr(memory.main_memory, f"{name}_bytes", lambda value=value: value)
    assert taken_by_others(CPU) == 4
