"""Carry to a machine without network what it lacks: collect wheels here, install them there.

    python .ci/wheels.py collect [--without NAME ...]   # into .wheels, where there is a network
    python .ci/wheels.py install                        # from .wheels into .venv-gpu, where not

The machine has Python 3.12, torch, torchvision, Lightning and timm, and so all that these ask for.
Of that only numpy and Pillow are left out, for their size; the rest is small, and used only where
the machine's is too old. Its torch is never touched: no wheel of it is there.
"""

import argparse
import os
import re
import site
import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
WHEELS, ENVIRONMENT = ROOT / ".wheels", ROOT / ".venv-gpu"
EXTRA = "gpu"  # of pyproject.toml: what the GPU tests need beside the package
THERE = {"torch", "torchvision", "pytorch-lightning", "timm"}
LEFT_OUT = {"numpy", "pillow"}  # torchvision asks for them
MOST_BYTES = 60_000_000
PYTHON = "3.12"
GLIBC = ("2_28", "2_27", "2_24", "2_17", "2_12", "2_5")  # pip matches each name exactly
PLATFORMS = [f"manylinux{one}_x86_64" for one in ("2014", "2010", "1", *(f"_{n}" for n in GLIBC))]


def name_of(requirement: str) -> str:
    """Return what a requirement, or the file of a wheel, is of."""
    found = re.match(r"[A-Za-z0-9._]+(-(?!\d)[A-Za-z0-9._]+)*", requirement)
    return re.sub(r"[-_.]+", "-", found[0] if found else "").lower()


def collect(without: set[str]) -> None:
    """Fetch the wheels, and say how large they are; those `without` a machine has, too."""
    file = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = [
        *file["project"]["dependencies"],
        *file["project"]["optional-dependencies"][EXTRA],
        *file["build-system"]["requires"],
    ]
    wanted = [one for one in wanted if name_of(one) not in THERE | without]
    WHEELS.mkdir(exist_ok=True)
    for old in WHEELS.glob("*.whl"):
        old.unlink()
    kind = [f"--python-version={PYTHON}", "--implementation=cp", "--only-binary=:all:"]
    kind += [f"--platform={one}" for one in PLATFORMS]
    pip = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, *kind, "-d", str(WHEELS), *wanted], check=True)
    for wheel in WHEELS.glob("*.whl"):
        if name_of(wheel.name) in LEFT_OUT | without:
            wheel.unlink()
    sizes = {wheel.name: wheel.stat().st_size for wheel in WHEELS.glob("*.whl")}
    print(f"{len(sizes)} wheels in {WHEELS.name}, {sum(sizes.values()) / 1e6:.1f} MB")
    if sum(sizes.values()) > MOST_BYTES:
        largest = sorted(sizes, key=lambda name: -sizes[name])[:3]
        sys.exit(f"more than {MOST_BYTES / 1e6:.0f} MB; the largest are {', '.join(largest)}")


def install() -> None:
    """Make an environment over this Python's packages, with the package and what is missing.

    This Python may itself be one of an environment; one made from it would not see its packages.
    So a .pth file names them.
    """
    if not any(WHEELS.glob("*.whl")):
        sys.exit(f"no wheels in {WHEELS.name}; collect them where there is a network: make wheels")
    has_pip = subprocess.run([sys.executable, "-m", "pip", "-V"], capture_output=True, check=False)
    venv.create(ENVIRONMENT, system_site_packages=True, with_pip=has_pip.returncode != 0)
    python = ENVIRONMENT / "bin" / "python"
    inside = sysconfig.get_path("purelib", vars={"base": str(ENVIRONMENT)})
    beneath = dict.fromkeys([sysconfig.get_path("purelib"), *site.getsitepackages()])
    (Path(inside) / "beneath.pth").write_text("\n".join(beneath) + "\n", encoding="utf-8")
    if has_pip.returncode:
        pip = [str(python), "-m", "pip"]
    else:
        pip = [sys.executable, "-m", "pip", "--python", str(python)]
    where = ["-q", "--no-compile", "--disable-pip-version-check"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    environment |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(WHEELS)}  # from there alone
    subprocess.run([*pip, "install", *where, "-e", f"{ROOT}[{EXTRA}]"], check=True, env=environment)


def main() -> None:
    """Collect or install."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("collect", "install"))
    parser.add_argument("--without", nargs="+", default=[], help="packages that the machine has")
    options = parser.parse_args()
    if options.what == "collect":
        collect({name_of(one) for one in options.without})
    else:
        install()


if __name__ == "__main__":
    main()
