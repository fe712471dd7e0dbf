"""Times a stop: from SIGUSR1 to the checkpoint on the disk, and to the end of every process.

python benchmarks/stop.py -- configs/pretrain/demo.yaml --training.checkpoint-every-steps 0
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def start(arguments: list[str], run_dir: str, num_processes: int) -> list[subprocess.Popen]:
    """Start the ranks of a run."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    command = [sys.executable, "-m", "ssl_swin", "pretrain", *arguments, f"--run-dir={run_dir}"]
    command += ["--training.ledger=true", f"--training.devices={num_processes}"]
    processes = []
    for rank in range(num_processes):
        several = {
            "LOCAL_RANK": str(rank),
            "NODE_RANK": "0",
            "WORLD_SIZE": str(num_processes),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
        }
        environment = os.environ | (several if num_processes > 1 else {})
        processes.append(subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL))
    return processes


def num_steps(run_dir: str) -> int:
    """Return the steps done so far."""
    path = Path(run_dir) / "ledger" / "rank-0000.jsonl"
    return path.read_text(encoding="utf-8").count("\n") if path.is_file() else 0


def measure(arguments: list[str], num_processes: int, at_step: int) -> str:
    """Stop a run once, and return a row of the table."""
    with tempfile.TemporaryDirectory() as run_dir:
        processes = start(arguments, run_dir, num_processes)
        times = []
        for step in range(1, at_step + 1):
            while num_steps(run_dir) < step:
                if processes[0].poll() is not None:
                    raise RuntimeError(f"the run ended with status {processes[0].returncode}")
                time.sleep(0.001)
            times.append(time.time())
        signalled = time.time()
        processes[-1].send_signal(signal.SIGUSR1)
        statuses = {process.wait() for process in processes}
        ended = time.time()
        if statuses != {75}:
            raise RuntimeError(f"the processes ended with {statuses}")
        last = Path(run_dir) / "checkpoints" / "last.ckpt"
        step_s = (times[-1] - times[0]) / (at_step - 1)
        saved_s, ended_s = last.stat().st_ctime - signalled, ended - signalled
        more = num_steps(run_dir) - at_step
        size = last.stat().st_size / 1e6
    return (
        f"| {num_processes} | {size:.0f} | {step_s:.2f} | {more} | {saved_s:.2f} | {ended_s:.2f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--at-step", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("arguments", nargs="+", help="of ssl-swin pretrain, after --")
    options = parser.parse_args()
    if options.at_step < 2:
        parser.error("--at-step must be 2 or more: a step's time lies between two of them")
    print("| processes | checkpoint, MB | step, s | steps after it | saved, s | ended, s |")
    print("|---|---|---|---|---|---|")
    for num_processes in options.processes:
        for _ in range(options.rounds):
            print(measure(options.arguments, num_processes, options.at_step), flush=True)


if __name__ == "__main__":
    main()
