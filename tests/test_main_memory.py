import subprocess
import sys

import pytest

from ssl_swin import main_memory

GB = 10**9
MEMINFO = "MemTotal:       16000000 kB\nMemFree: 1 kB\nMemAvailable:    8000000 kB\n"


@pytest.fixture
def system(tmp_path, monkeypatch):
    """Returns what writes the files of a kernel."""
    monkeypatch.setattr(main_memory, "_PROC", tmp_path / "proc")
    monkeypatch.setattr(main_memory, "_GROUPS", tmp_path / "cgroup")

    def write(**files):
        for name, text in files.items():
            path = tmp_path / name.replace("__", "/").replace("_dot_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    write(proc__meminfo=MEMINFO)
    return write


def test_without_groups_the_machine_counts(system):
    assert main_memory.total_bytes() == 16_000_000 * 1024
    assert main_memory.available_bytes() == 8_000_000 * 1024
    system(proc__self__cgroup="0::/job\n", cgroup__job__memory_dot_max="max\n")
    assert main_memory.total_bytes() == 16_000_000 * 1024


def test_a_job_s_limit_counts_wherever_it_stands(system):
    system(
        proc__self__cgroup="0::/job/step/task\n",
        cgroup__job__step__task__memory_dot_max="max\n",
        cgroup__job__memory_dot_max=f"{4 * GB}\n",
        cgroup__job__memory_dot_current=f"{3 * GB}\n",
        cgroup__job__memory_dot_stat=f"anon 5\nactive_file {GB}\ninactive_file {GB}\n",
    )
    assert main_memory.total_bytes() == 4 * GB
    assert main_memory.available_bytes() == 3 * GB  # files make room


def test_groups_of_the_first_version_count_too(system):
    system(
        proc__self__cgroup="9:name=systemd:/\n5:cpu:/job\n4:memory:/elsewhere\n",
        cgroup__memory__memory_dot_limit_in_bytes=f"{2 * GB}\n",
        cgroup__memory__memory_dot_usage_in_bytes=f"{GB}\n",
        cgroup__memory__memory_dot_stat=f"inactive_file 5\ntotal_inactive_file {GB // 2}\n",
    )
    assert main_memory.total_bytes() == 2 * GB
    assert main_memory.available_bytes() == 3 * GB // 2


def test_what_a_process_takes_is_its_own_and_stays_the_peak():
    code = (
        "from ssl_swin import main_memory as m; before = m.peak_resident_bytes();"
        "large = b'x' * 10**8; peak = m.peak_resident_bytes(); del large;"
        "assert peak - before > 9 * 10**7, (peak, before);"
        "assert m.resident_bytes() < peak - 9 * 10**7;"
        "assert m.peak_resident_bytes() > peak - 10**6"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.usefixtures("system")
def test_where_the_kernel_tells_nothing_its_own_count_is_taken():
    assert main_memory.resident_bytes() == 0
    assert main_memory.peak_resident_bytes() > 10**6
