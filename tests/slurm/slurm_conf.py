"""What SLURM is told of a cluster of the tests: `slurm.conf` and the files beside it."""

import contextlib
import os
import pwd
import socket
from pathlib import Path

# cred_expire is also how long a requeued job waits, and 5 s the least. The times are short so that
# a lost node, a kill and a dead controller are noticed in seconds. Partition `spare` gives way to
# `main` by requeueing.
CONFIG = """\
ClusterName=tests
SlurmctldHost={head}({head_address})
SlurmctldPort={head_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={root}/munge.socket,cred_expire=5
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool-%n
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd-%n.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
SchedulerParameters=bf_interval=1,batch_sched_delay=0
ReturnToService=2
SlurmctldTimeout=5
SlurmdTimeout=5
MessageTimeout=5
TCPTimeout=2
KillWait=5
MinJobAge=3600
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
GresTypes=gpu
{nodes}
PartitionName=main Nodes=ALL Default=YES DefaultTime=10 PriorityTier=2 PreemptMode=OFF
PartitionName=spare Nodes=ALL DefaultTime=10 PriorityTier=1 PreemptMode=REQUEUE GraceTime=10
"""


def write_config(root: Path, nodes: dict[str, str], head_address: str, own_names: bool) -> None:
    """Write `slurm.conf`, `gres.conf` and `hosts` into the folder of a cluster.

    Args:
        root: The folder; logs, sockets and state come to be there, too.
        nodes: Name -> network address.
        head_address: The controller's network address.
        own_names: Whether each node has a host name of its own, or this machine's.
    """
    for name in ("state", "gpu"):
        (root / name).mkdir()
    for number in (0, 1):  # SLURM counts devices and sets CUDA_VISIBLE_DEVICES
        (root / "gpu" / f"gpu{number}").symlink_to("/dev/null")
    (root / "gres.conf").write_text(f"Name=gpu File={root}/gpu/gpu[0-1]\n")
    head = socket.gethostname().partition(".")[0]
    names = {"localhost": "127.0.0.1", head: head_address, **nodes}
    (root / "hosts").write_text("".join(f"{a} {n}\n" for n, a in names.items()))
    ports = _free_ports(len(nodes) + 1)
    lines = [
        f"NodeName={name} NodeHostname={name if own_names else head} NodeAddr={address} "
        f"Port={port} CPUs=8 RealMemory=8000 Gres=gpu:2"
        for (name, address), port in zip(nodes.items(), ports, strict=False)
    ]
    text = CONFIG.format(
        head=head,
        head_address=head_address,
        head_port=ports[-1],
        user=pwd.getpwuid(os.geteuid()).pw_name,
        root=root,
        nodes="\n".join(lines),
    )
    (root / "slurm.conf").write_text(text)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
