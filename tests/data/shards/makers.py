"""Processes that need the same indexes at once; headers that are read are counted in a file."""

import os
import time
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path

from ssl_swin.data.open import open_shards
from ssl_swin.data.shards import indexing

PROCESSES = get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__])


def open_counted(pattern, cache_dir, log, gate, results, stop_after=None):
    """Body of a process: open a set, and say what was found; one stops in its n-th tar for good."""
    real = indexing.read_samples

    def counted(file, name, *others):
        with log.open("a") as out:
            out.write(f"{name}\n")
        if stop_after is not None and len(log.read_text().splitlines()) > stop_after:
            time.sleep(3600)
        return real(file, name, *others)

    indexing.read_samples = counted
    gate.wait(60)
    shards = open_shards(pattern, cache_dir, num_workers=2)
    indexes = {}
    with suppress(FileNotFoundError):
        indexes = {path.name: os.stat(f"{path}.index.npy").st_ino for path in shards.storage.paths}
    shards.storage.rows(0)
    results.put((shards.fingerprint(), indexes))


class Makers:
    """So many processes of `open_counted`."""

    def __init__(self, folder, num, log, cache_dir=None, pattern=None):
        self.log, self.num = Path(log), num
        self.gate, self.results = PROCESSES.Event(), PROCESSES.Queue()
        self.arguments = (pattern or str(folder), cache_dir, self.log, self.gate, self.results)

    def start(self, **options):
        process = PROCESSES.Process(target=open_counted, args=self.arguments, kwargs=options)
        process.start()
        return process

    def all_together(self):
        """Start all of them, and return what they found."""
        processes = [self.start() for _ in range(self.num)]
        self.gate.set()
        found = [self.results.get(timeout=60) for _ in processes]
        for process in processes:
            process.join(60)
        return found

    def scanned(self):
        """Names of the tars whose headers were read, each time that they were."""
        return self.log.read_text().splitlines() if self.log.exists() else []
