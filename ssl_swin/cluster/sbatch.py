"""`sbatch`: asked when a job would start, and handed one, without the variables of another job."""

import os
import re
import subprocess
from collections.abc import Mapping

from ssl_swin.errors import MachineError, UserError

_LEAKED = re.compile(
    r"(SLURMD?|SBATCH|SRUN|SALLOC)_.*|MASTER_(ADDR|PORT)|(NODE_|LOCAL_)?RANK|(LOCAL_)?WORLD_SIZE"
)
_KEPT = ("SLURM_CONF",)  # where the cluster is
_NO_SBATCH = "there is no sbatch here"
# what its commands say of a controller that is away, or of a configuration that is not here
_AWAY = re.compile(r"contact slurm controller|connect failure|timed out|SLURM_CONF|conf\w* source")


def would_start(text: str) -> tuple[str, bool]:
    """Say when SLURM would start this batch script, or why not; and whether it would refuse it."""
    answer = _sbatch("--test-only", text=text)
    if answer is None:
        return f"not checked: {_NO_SBATCH}, to say when the job would start", False
    said = _said(answer.stderr)
    if not answer.returncode:
        return said, False
    if _AWAY.search(said):
        return f"not checked: SLURM did not say when the job would start ({_last(said)})", False
    return f"SLURM would refuse it today: {said}", True


def queue(*arguments: str) -> str:
    """Queue the script that is the last argument, and return the job's id.

    Raises:
        UserError: If there is no sbatch, or it refuses.
        MachineError: If SLURM does not answer.
    """
    _, dropped = clean(os.environ)
    if dropped:
        names = ", ".join(dropped[:3]) + (", ..." if len(dropped) > 3 else "")
        print(f"{len(dropped)} variables of another job are not handed on: {names}")
    answer = _sbatch("--parsable", *arguments)
    if answer is None:
        raise UserError(
            f"{_NO_SBATCH}: submit on a login node of the cluster (--dry-run works everywhere)"
        )
    if answer.returncode:
        said = _said(answer.stderr)
        if _AWAY.search(said):
            raise MachineError(
                f"SLURM does not answer: {_last(said)}; give the command again later"
            )
        raise UserError(f"sbatch refused {arguments[-1]}: {said}")
    return answer.stdout.strip().partition(";")[0]


def _sbatch(*arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str] | None:
    """Run sbatch without the variables of another job; None if it is not here."""
    command, (environment, _) = ["sbatch", *arguments], clean(os.environ)
    try:
        return subprocess.run(
            command, input=text, env=environment, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return None


def _said(text: str) -> str:
    """Put what sbatch says on one line, less its name."""
    lines = (re.sub(r"^sbatch: (error: |fatal: )?", "", line) for line in text.splitlines())
    return "; ".join(line.strip() for line in lines if line.strip())


def _last(said: str) -> str:
    return said.rpartition("; ")[2]


def clean(environment: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Drop the variables that another job left behind; return the rest and the dropped names."""
    dropped = [name for name in environment if _LEAKED.fullmatch(name) and name not in _KEPT]
    return {name: environment[name] for name in environment if name not in dropped}, dropped
