"""A SLURM cluster of several nodes on this machine: Debian's daemons, all files in one folder.

With the rights for namespaces (root), a node has a host name, a network address, a process table
and a /dev/shm of its own, so it can lose its power or its cable. Without them a node is a mere
slurmd whose name is an address of the loopback network; it has no cable to be cut.

No accounting database: `scontrol show job` tells how a job ended.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.slurm.slurm_conf import write_config

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "munged", "mungekey")
TOLD_BY_SLURM = ("SLURM_", "SBATCH_", "SRUN_", "SALLOC_")


# Process 1 of a node. It starts once its network is there, and reaps what loses its parent.
NODE = """
read -r ready
mount --bind "$hosts" /etc/hosts
mount -t tmpfs tmpfs /dev/shm
hostname "$name"
slurmd -D -b -N "$name" &
wait
"""


class Cluster:
    """Nodes, a controller (`head`) and munge, from `up` to `down`.

    Args:
        root: A new folder with a short path: sockets in it must stay below 108 characters.
        num_nodes: Nodes; each pretends to have 8 CPUs and 2 GPUs.
        plain: Do without namespaces also where they may be had.
    """

    def __init__(self, root: Path, num_nodes: int = 4, plain: bool = False) -> None:
        self.root, self.config = root, root / "slurm.conf"
        self.namespaces = not plain and _may_have_namespaces()
        self._network = f"198.18.{os.getpid() % 250 + 1}"  # reserved for such tests (RFC 2544)
        self._bridge = f"slurm{os.getpid()}"
        numbers = range(1, num_nodes + 1)
        if self.namespaces:
            self.nodes = {f"n{i}": f"{self._network}.{10 + i}" for i in numbers}
        else:
            self.nodes = {f"127.0.0.{10 + i}": f"127.0.0.{10 + i}" for i in numbers}
        self._running: dict[str, subprocess.Popen] = {}

    @property
    def environment(self) -> dict[str, str]:
        """The variables of a user at this cluster's login node."""
        mine = {k: v for k, v in os.environ.items() if not k.startswith(TOLD_BY_SLURM)}
        return mine | {"SLURM_CONF": str(self.config)}

    # -- the whole ---------------------------------------------------------------------------------

    def up(self) -> None:
        """Start everything and wait until every node is idle; leave nothing behind on failure."""
        try:
            self.root.chmod(0o755)  # munge insists that its socket can be reached by all
            head_address = f"{self._network}.1" if self.namespaces else "127.0.0.1"
            write_config(self.root, self.nodes, head_address, self.namespaces)
            _run("mungekey", "--create", f"--keyfile={self.root}/munge.key")
            files = {"socket": "socket", "key-file": "key", "pid-file": "pid", "seed-file": "seed"}
            options = [f"--{name}={self.root}/munge.{file}" for name, file in files.items()]
            log = f"--log-file={self.root}/munge.log"
            self._start("munge", "munged", "--foreground", *options, log)
            until((self.root / "munge.socket").exists, "munge")
            if self.namespaces:
                _remove_stale_bridges()
                _run("ip", "link", "add", self._bridge, "type", "bridge")
                _run("ip", "addr", "add", f"{self._network}.1/24", "dev", self._bridge)
                _run("ip", "link", "set", self._bridge, "up")
            for name in ("head", *self.nodes):
                self.start(name)
            until(lambda: set(self.states().values()) == {"idle"}, "idle nodes")
        except BaseException:
            self.down()
            raise

    def down(self) -> None:
        """End every process and take the network away; the folder stays, for its logs."""
        for name in [*self.nodes, "head", "munge"]:
            self.fail(name)
        if self.namespaces:
            _run("ip", "link", "del", self._bridge, check=False)

    def states(self) -> dict[str, str]:
        """Return node -> state, without the mark of a node that does not answer."""
        answer = self.ask("sinfo", "-h", "-N", "-p", "main", "-o", "%N %T")
        pairs = dict(line.split() for line in answer.splitlines())
        return {name: state.rstrip("*") for name, state in pairs.items()}

    # -- its parts ---------------------------------------------------------------------------------

    def start(self, name: str) -> None:
        """Boot a node, or the controller (`head`)."""
        if name == "head":
            self._start(name, "slurmctld", "-D")
        elif self.namespaces:
            self._boot(name)
        else:
            self._start(name, "slurmd", "-D", "-b", "-N", name)

    def fail(self, name: str) -> None:
        """Cut the power of a node, or kill the controller (`head`): at once, whatever runs."""
        process = self._running.pop(name, None)
        if process is None:
            return
        if name in self.nodes and not self.namespaces:
            for pid in self._processes_of(name):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        for pid in _children(process.pid) if name in self.nodes else []:
            os.kill(pid, signal.SIGKILL)  # process 1 takes its namespace along
        process.kill()
        process.wait()
        if process.stdin is not None:
            process.stdin.close()

    def cut(self, name: str) -> None:
        """Pull the network cable of a node; what runs there goes on."""
        assert self.namespaces, "a node without a network of its own has no cable"
        _run("ip", "link", "set", self._port(name), "down")

    def join(self, name: str) -> None:
        """Plug the cable in again."""
        _run("ip", "link", "set", self._port(name), "up")

    def inside(self, name: str, *command: str, check: bool = True) -> None:
        """Run a command with the file systems and the network of a node."""
        _run(*self._enter(name), *command, check=check)

    def start_inside(self, name: str, *command: str) -> subprocess.Popen:
        """Start a command there."""
        return subprocess.Popen([*self._enter(name), *command])

    def _enter(self, name: str) -> list[str]:
        assert self.namespaces, "a node without namespaces has nothing of its own"
        place = f"/proc/{_children(self._running[name].pid)[0]}/ns"
        return ["nsenter", f"--mount={place}/mnt", f"--net={place}/net"]

    def _boot(self, name: str) -> None:
        node = self._start(
            name,
            *("unshare", "--net", "--uts", "--mount", "--pid", "--fork", "--kill-child"),
            *("--mount-proc", "bash", "-c", NODE),
            name=name,
            hosts=str(self.root / "hosts"),
        )
        inside = until(lambda: _children(node.pid), f"the namespaces of {name}")[0]
        port = self._port(name)
        _run("ip", "link", "del", port, check=False)  # of the life before, if it lingers
        cable = ("type", "veth", "peer", "name", "eth0", "netns", str(inside))
        _run("ip", "link", "add", port, "master", self._bridge, *cable)
        enter = ("nsenter", f"--net=/proc/{inside}/ns/net", "ip")
        _run(*enter, "link", "set", "lo", "up")
        _run(*enter, "addr", "add", f"{self.nodes[name]}/24", "dev", "eth0")
        _run(*enter, "link", "set", "eth0", "up")
        _run("ip", "link", "set", port, "up")
        assert node.stdin is not None
        node.stdin.write(b"\n")
        node.stdin.close()

    def _start(self, name: str, /, *command: str, **variables: str) -> subprocess.Popen:
        """Start a program that ends with this process; its variables tell whose it is."""
        mine = {"SSL_SWIN_TEST_NODE": f"{self.root}:{name}"}
        with (self.root / f"{name}.out").open("ab") as log:
            self._running[name] = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *command],
                env=self.environment | mine | variables,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self._running[name]

    def _processes_of(self, name: str) -> list[int]:
        """Return slurmd, its helpers and the jobs of a node without namespaces."""
        marks = (
            {f"SSL_SWIN_TEST_NODE={self.root}:{name}"},
            {f"SLURMD_NODENAME={name}", f"SLURM_CONF={self.config}"},
        )
        found = []
        for place in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                variables = set((place / "environ").read_text(errors="replace").split("\0"))
                if any(mark <= variables for mark in marks):
                    found.append(int(place.name))
        return found

    def _port(self, name: str) -> str:
        return f"{self._bridge}{name}"

    # -- its users ---------------------------------------------------------------------------------

    def ask(self, *command: str, check: bool = True) -> str:
        """Run a client command and return what it prints."""
        answer = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        assert not check or answer.returncode == 0, f"{command}: {answer.stderr or answer.stdout}"
        return answer.stdout.strip()

    def sbatch(self, script: str, *options: str, environment: dict[str, str]) -> str:
        """Submit the text of a script and return the job's id."""
        command = ["sbatch", "--parsable", *options]
        answer = subprocess.run(
            command, input=script, env=environment, capture_output=True, text=True
        )
        assert answer.returncode == 0, answer.stderr
        return answer.stdout.strip()

    def show(self, job: str) -> dict[str, str]:
        """Return what the controller knows of a job: JobState, Restarts, NodeList, ExitCode ..."""
        text = self.ask("scontrol", "-o", "show", "job", job)
        return dict(pair.split("=", 1) for pair in text.split() if "=" in pair)

    def wait(self, job: str, *states: str, seconds: float = 240) -> dict[str, str]:
        """Wait for a state of a job and return what is known of it then."""

        def reached() -> dict[str, str] | None:
            found = self.show(job)
            return found if found["JobState"] in states else None

        return until(reached, f"job {job} to be {' or '.join(states)}", seconds)


def until(condition: Callable[[], Any], what: str, seconds: float = 20, every: float = 0.1) -> Any:
    """Wait for something to be true and return it."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds} s in vain for {what}")
        time.sleep(every)
    return result


def missing_programs() -> list[str]:
    """Return what has to be installed before a cluster can be brought up."""
    return [name for name in PROGRAMS if shutil.which(name) is None]


def _remove_stale_bridges() -> None:
    """Remove what a test process left that was killed; its bridge is named after it."""
    for place in Path("/sys/class/net").glob("slurm*"):
        pid = place.name.removeprefix("slurm")
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            _run("ip", "link", "del", place.name)


def _may_have_namespaces() -> bool:
    probe = "ip link add ssl-probe type bridge && mount -t tmpfs tmpfs /dev/shm"
    command = ["unshare", "--net", "--uts", "--mount", "--pid", "--fork", "bash", "-c", probe]
    return os.geteuid() == 0 and subprocess.run(command, capture_output=True).returncode == 0


def _children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def _run(*command: str, check: bool = True) -> None:
    answer = subprocess.run(command, capture_output=True, text=True)
    assert not check or answer.returncode == 0, f"{command}: {answer.stderr}"
