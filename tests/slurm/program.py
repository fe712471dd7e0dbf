"""`ssl-swin` whose training can be made slow, late or fragile, by variables.

SLOW_S: seconds added to every step; SLOW_RANK: of this rank only. LATE_S: seconds of imports more;
LATE_RANK: of this rank only.
DIE_RANK: this rank dies without a word after DIE_STEP steps, later in each of DIE_LIVES lives; with
DIE_MB it takes so much memory instead, and waits.
MEASURE_S: seconds that each held-out batch takes. SAVE_S: seconds that a save takes in the first
life, with half a file on the disk; of the save with the number SAVE_NUMBER, from 0, and later ones.
DIE_IN_IMPORTS: rank 1 dies in its imports after so many restarts: `1` or `1,5`. SAVE_FAILS: the
number of an error that the save SAVE_NUMBER of the first life ends with.
STALL_RANK: storage never answers this rank's read with the number STALL_READ, in the first life.
CLOCK_DAYS: days that the clock is ahead in the second life.
EXTRACT_S: seconds that each block of features takes, of an evaluation.
"""

import os
import time
import warnings

from ssl_swin import __main__
from ssl_swin.config.run import KINDS


def main() -> None:
    """Run a command; what disturbs a training comes with its imports, as late as these."""
    find = __main__._function

    def disturbed(name):
        if name in KINDS:
            print("imports", flush=True)
            rank = rank_of(os.environ)
            if os.environ.get("LATE_RANK", rank) == rank:
                time.sleep(float(os.environ.get("LATE_S", 0)))
            restart = os.environ.get("SLURM_RESTART_COUNT", "0")
            dying = restart in os.environ.get("DIE_IN_IMPORTS", "").split(",")
            if dying and rank == "1":
                die(0)
            warnings.simplefilter("error")
            disturb()
        if name == "evaluate":
            delay_extracting(float(os.environ.get("EXTRACT_S", 0)))
        return find(name)

    __main__._function = disturbed
    __main__.main()


def rank_of(variables) -> str:
    """Return this process's rank, also under a torchrun, or in a run that starts its own."""
    return variables.get("RANK", variables["SLURM_PROCID"])


def disturb() -> None:
    """Wrap the step of all trainings."""
    from ssl_swin.training.learner import Learner

    told, train = os.environ, Learner.training_step
    seconds, rank = float(told.get("SLOW_S", 0)), rank_of(told)
    slow = told.get("SLOW_RANK", rank) == rank
    life = int(told.get("SLURM_RESTART_COUNT", 0))
    dies = told.get("DIE_RANK") == rank and life < int(told.get("DIE_LIVES", 0))
    last_step = int(told.get("DIE_STEP", 0)) * (life + 1)

    def step(self, batch, batch_idx):
        if slow:
            time.sleep(seconds)
        if dies and self.step == last_step:
            die(int(told.get("DIE_MB", 0)))
        return train(self, batch, batch_idx)

    Learner.training_step = step
    delay_measuring(float(told.get("MEASURE_S", 0)))
    if life == 0:
        first, error = int(told.get("SAVE_NUMBER", 0)), int(told.get("SAVE_FAILS", 0))
        disturb_saving(float(told.get("SAVE_S", 0)), first, error)
        if told.get("STALL_RANK") == rank:
            stall_reading(int(told["STALL_READ"]))
    if life == 1:
        now, ahead_s = time.time, 86400 * float(told.get("CLOCK_DAYS", 0))
        time.time = lambda: now() + ahead_s


def die(megabytes: int) -> None:
    """End at once, or take memory until somebody ends this process."""
    if not megabytes:
        os._exit(3)
    _taken = b"x" * (megabytes * 10**6)
    time.sleep(600)


def stall_reading(number: int) -> None:
    """Make one read wait for ever, and say so."""
    from ssl_swin.data.batches.stream import ImageStream

    read, count = ImageStream.__getitems__, iter(range(1000))

    def stalled(self, share):
        if next(count) == number:
            print("stalled", flush=True)
            time.sleep(3600)
        return read(self, share)

    ImageStream.__getitems__ = stalled


def delay_measuring(seconds: float) -> None:
    """Make each held-out batch slow, and say so."""
    from ssl_swin.training.pretrain import PretrainModule

    take = PretrainModule.measure

    def measure(self, batch):
        print("measuring", flush=True)
        time.sleep(seconds)
        return take(self, batch)

    PretrainModule.measure = measure


def delay_extracting(seconds: float) -> None:
    """Make each block of features slow, and say when it is written."""
    from ssl_swin.features.store import Store

    write = Store.write

    def slowly(self, block, values, good):
        time.sleep(seconds)
        write(self, block, values, good)
        print(f"written {self.folder.name} {block}", flush=True)

    Store.write = slowly


def disturb_saving(seconds: float, first: int, error: int) -> None:
    """Make saves slow, or fail, from the one of this number."""
    from ssl_swin.training import checkpoint_file

    save, count = checkpoint_file.torch.save, iter(range(1000))

    def slowly(state, file):
        late = next(count) >= first
        if error and late:
            raise OSError(error, os.strerror(error))
        if seconds and late:
            file.write(b"PK half a checkpoint")
            file.flush()
            time.sleep(seconds)
            file.seek(0)
            file.truncate()
        save(state, file)

    checkpoint_file.torch.save = slowly


if __name__ == "__main__":
    main()
