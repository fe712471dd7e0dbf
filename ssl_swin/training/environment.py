"""What a life runs on, in words that a report can show: versions, the device, the processor."""

import platform

import torch
import torch.version

from ssl_swin import __version__
from ssl_swin.machine import usable_cores


def environment(device: torch.device) -> dict[str, str]:
    """Return versions and devices of this process; nothing in it changes what is learned."""
    found = {
        "ssl-swin": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
    }
    if device.type == "cuda":
        found["CUDA"] = str(torch.version.cuda or torch.version.hip)
        found["GPU"] = f"{torch.cuda.device_count()} x {torch.cuda.get_device_name(device)}"
    processor = _processor()
    return found | {"processor": f"{processor}, {usable_cores()} cores", "system": _system()}


def _processor() -> str:
    """Return the processor's name, where Linux tells it, else its architecture."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            named = [line.partition(":")[2].strip() for line in file if "model name" in line]
    except OSError:
        named = []
    return named[0] if named else platform.machine()


def _system() -> str:
    return f"{platform.system()} {platform.release()}"
