import os

import pytest

from ssl_swin.errors import UserError
from ssl_swin.recipe import machine
from ssl_swin.recipe.machine import GB, Gpu, Machine, best_partition, gpu_of, look
from tests.cluster.bin import write_programs


@pytest.mark.parametrize(
    ("kind", "gigabytes", "has_bf16", "is_guessed"),
    [
        ("a100", 40, True, True),
        ("nvidia_a100_80gb_pcie", 80, True, False),
        ("nvidia_a100-sxm4-80gb", 80, True, False),
        ("h100", 80, True, True),
        ("1g.5gb", 5, True, False),
        ("v100_32gb", 32, False, False),
        ("t4", 16, False, True),
        ("l40s", 48, True, True),
        ("", 16, True, True),
        ("marvel", 16, True, True),
    ],
)
def test_what_a_cluster_calls_a_gpu_tells_its_memory(kind, gigabytes, has_bf16, is_guessed):
    assert gpu_of(kind) == Gpu(kind or "GPU", gigabytes * GB, has_bf16, is_guessed)


def test_gpus_are_compared_by_their_names():
    names = ("h100", "a100_40gb", "l40s", "marvel", "t4")
    speeds = [gpu_of(name).of_h100 for name in names]
    assert speeds == sorted(speeds, reverse=True)


def test_the_default_partition_comes_first_then_the_one_with_most_gpus():
    few = "few|gpu:t4:2|1:00:00|2|16|64000"
    many = "many|gpu:a100:4(S:0-1),gpu:t4:1|2-00:00:00|10|64+|515000+"
    found = best_partition(f"cpus*|(null)|1:00|9|8|16000\n{few}\n{many}")
    assert found is not None
    assert (found.partition, found.num_nodes, found.cores) == ("many", 10, 64)
    assert [gpu.name for gpu in found.gpus] == ["a100"] * 4
    assert found.memory_bytes == 515_000 * 10**6
    default = best_partition(f"{few.replace('few', 'few*')}\n{many}")
    assert default is not None
    assert default.partition == "few"
    unnamed = best_partition("x|gpu:8|infinite|1|96|900000")
    assert unnamed is not None
    assert len(unnamed.gpus) == 8


@pytest.mark.parametrize("text", ["", "cpus*|(null)|1:00|9|8|16000", "what is this?"])
def test_without_gpus_there_is_no_partition_to_take(text):
    assert best_partition(text) is None


def test_slurm_is_looked_at_where_there_is_one(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", f"{write_programs(tmp_path / 'bin')}:{os.environ['PATH']}")
    found = look("slurm")
    assert (found.kind, found.partition, len(found.gpus)) == ("slurm", "gpus", 4)
    assert "3 nodes with 4 x a100_80gb of 80 GB and 32 cores each" in found.described()


def test_what_is_wanted_and_not_here_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="SLURM is not here"):
        look("slurm")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(machine, "_gpus", tuple)
    with pytest.raises(UserError, match="no GPU is seen here"):
        look("gpu")
    assert look("auto") == look("cpu")


def test_a_machine_is_described_in_a_few_words():
    assert Machine("cpu", 1, 8 * GB).described() == "a CPU with 1 core, 8 GB of main memory"
    gpu = Machine("gpu", 16, 64 * GB, (gpu_of("a100"),))
    assert gpu.described().startswith("1 x a100 of about 40 GB, 16 cores")
