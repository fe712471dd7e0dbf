"""What SLURM says of jobs: squeue first, then scontrol, then sacct, whichever answers."""

import subprocess
from dataclasses import dataclass

GONE = frozenset(
    {
        *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL"),
        *("OUT_OF_MEMORY", "PREEMPTED", "TIMEOUT", "REVOKED"),
    }
)


@dataclass(frozen=True)
class JobState:
    """One job as SLURM sees it."""

    state: str
    """PENDING, RUNNING, COMPLETED, ..."""
    nodes: str = ""
    """Node list, empty while there is none."""
    left: str = ""
    """Time to its limit."""
    reason: str = ""
    """Why it waits."""

    @property
    def alive(self) -> bool:
        """Whether it runs, or waits to run."""
        return self.state not in GONE


def look_up(job: str) -> JobState | None:
    """Return the state of a job, by its id or, of one task of an array, ARRAY_TASK.

    It is None if SLURM does not know the job, or is not here.
    """
    if line := _ask("squeue", "--noheader", "--jobs", job, "--format=%T|%N|%L|%r"):
        state, nodes, left, reason = line.splitlines()[0].split("|")
        return JobState(state, nodes, left, "" if reason == "None" else reason)
    if text := _ask("scontrol", "--oneliner", "show", "job", job):
        pairs = dict(pair.split("=", 1) for pair in text.split() if "=" in pair)
        return JobState(pairs["JobState"], pairs.get("NodeList", "").replace("(null)", ""))
    options = ("--noheader", "--allocations", "--parsable2", "--format=State,NodeList")
    if line := _ask("sacct", "--jobs", job, *options):
        state, nodes = line.splitlines()[-1].split("|")
        return JobState(state.split()[0], nodes)
    return None


def without_nodes(job: str, node: str | None, forgiven: frozenset[str] = frozenset()) -> str | None:
    """Return the nodes that a job is to do without: this one, and as before but the `forgiven`.

    It is None if SLURM then had too few nodes for it, or does not say, or nothing changes.
    """
    text = _ask("scontrol", "--oneliner", "show", "job", job)
    pairs = dict(pair.split("=", 1) for pair in text.split() if "=" in pair)
    if not pairs or pairs.get("ReqNodeList", "(null)") != "(null)":
        return None
    excluded = pairs.get("ExcNodeList", "(null)").replace("(null)", "")
    before = _ask("scontrol", "show", "hostnames", excluded).split() if excluded else []
    out = {*before} - forgiven | ({node} if node else set())
    if node is None and out == {*before}:
        return None
    usable = ("--states=idle,mixed,allocated,completing", "--format=%N")
    there = _ask("sinfo", "--noheader", "--Node", f"--partition={pairs.get('Partition')}", *usable)
    needed = int(pairs.get("NumNodes", "1").partition("-")[0])
    return ",".join(sorted(out)) if len({*there.split()} - out) >= needed else None


def list_partitions() -> str:
    """Return a line `NAME|GRES|TIME|NODES|CPUS|MEGABYTES` for each kind of node of each partition.

    The name of the default partition ends with a star. Nothing if SLURM is not here.
    """
    return _ask("sinfo", "--noheader", "--format=%P|%G|%l|%D|%c|%m")


def _ask(*command: str) -> str:
    """Return what a command prints; nothing if it fails, hangs or is not here."""
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""
