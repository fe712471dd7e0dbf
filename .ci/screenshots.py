"""Takes pictures of what a newcomer sees: each tab of TensorBoard, and the last panel of each run.

    .venv/bin/python .ci/screenshots.py RUNS OUT     (Debian: apt-get install chromium)

CI does not run it. Look at the pictures after a change of tags, of panels or of TensorBoard.
"""

import argparse
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
TABS = ("timeseries", "scalars", "custom_scalars", "images", "text", "hparams", "projector")
SIZE = "1500,1100"
START_S = 120
LOAD_MS = 30_000  # of a tab's own clock, which runs ahead while nothing is under way


def main() -> None:
    """Take them all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, help="a run folder, or a folder above several")
    parser.add_argument("out", type=Path, help="folder for the pictures")
    parser.add_argument("--tabs", nargs="+", default=TABS)
    given = parser.parse_args()
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        sys.exit(f"no browser: none of {', '.join(BROWSERS)}; on Debian: apt-get install chromium")
    given.out.mkdir(parents=True, exist_ok=True)
    with tensorboard(given.runs) as address:
        for tab in given.tabs:
            photograph(browser, f"{address}#{tab}", given.out / f"{tab}.png")
    for panels in given.runs.rglob("panels"):
        name = "-".join(panels.parent.relative_to(given.runs).parts) or given.runs.name
        shutil.copy(max(panels.glob("*.png")), given.out / f"panel-{name}.png")


@contextmanager
def tensorboard(runs: Path) -> Iterator[str]:
    """Serve a folder of runs until the block ends; give the address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "tensorboard.main", "--logdir", str(runs), "--port", str(port)]
    words += ["--samples_per_plugin", "images=1000"]
    server = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    address, until = f"http://127.0.0.1:{port}/", time.monotonic() + START_S
    try:
        while not _answers(f"{address}data/runs"):
            if server.poll() is not None or time.monotonic() > until:
                sys.exit(f"TensorBoard does not start: {' '.join(words)}")
            time.sleep(0.5)
        yield address
    finally:
        server.terminate()
        server.wait()


def _answers(address: str) -> bool:
    """Whether TensorBoard is there and has read a run."""
    try:
        with urllib.request.urlopen(address, timeout=10) as answer:
            return answer.read().strip() not in (b"", b"[]")
    except (urllib.error.URLError, OSError):
        return False


def photograph(browser: str, address: str, path: Path) -> None:
    """Save a page as it looks once it is loaded."""
    with tempfile.TemporaryDirectory() as profile:
        options = [
            *("--headless=new", "--no-sandbox", "--hide-scrollbars", f"--user-data-dir={profile}"),
            *_drawing(address),
            *(f"--window-size={SIZE}", f"--virtual-time-budget={LOAD_MS}"),
        ]
        words = [browser, *options, f"--screenshot={path}", address]
        subprocess.run(words, check=True, capture_output=True, timeout=300)
    print(path)


def _drawing(address: str) -> tuple[str, ...]:
    """Return how the browser draws: charts in the page itself, which is waited for, if they can."""
    if address.endswith("#projector"):  # it needs WebGL, which the processor computes
        return ("--use-angle=swiftshader", "--enable-unsafe-swiftshader")
    return ("--disable-3d-apis",)


if __name__ == "__main__":
    main()
