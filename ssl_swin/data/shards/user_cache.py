"""The user's cache: for indexes that cannot lie beside their tars, and for remote shards.

It is made when something goes there. Who has no home, or one that cannot be written to, needs none
until then.
"""

import errno
import hashlib
import os
import stat
from pathlib import Path

from ssl_swin.errors import ShardError

_MAY_NOT = (errno.EACCES, errno.EPERM, errno.EROFS)
NO_PLACE = (*_MAY_NOT, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST)


def cache_root(cache_dir: Path | None) -> Path | None:
    """The folder that was given, or `~/.cache/ssl_swin`; None for a user without a home."""
    if cache_dir is not None:
        return Path(cache_dir)
    try:
        return Path.home() / ".cache" / "ssl_swin"
    except RuntimeError:  # neither HOME nor an entry in the list of users
        return None


def cache_folder(folder: Path, cache_dir: Path | None) -> Path | None:
    """Where the indexes go of a folder of tars that cannot be written to; None as `cache_root`."""
    root = cache_root(cache_dir)
    return None if root is None else root / cached_name(folder)


def cached_name(folder: Path) -> str:
    """Return the name that a folder of tars has in the cache."""
    return hashlib.sha256(os.fsencode(folder.absolute())).hexdigest()[:32]


def may(path: Path, mode: int) -> bool:
    """Whether this user may read (`os.R_OK`) or write (`os.W_OK`) a file that is there."""
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


def keeps_others(path: Path) -> bool:
    """Whether a file is another user's, in a folder whose sticky bit lets nobody replace it."""
    folder = path.parent.stat()
    if not folder.st_mode & stat.S_ISVTX or not path.exists():
        return False
    return os.geteuid() not in (0, folder.st_uid, path.stat().st_uid)


def make_cache(what: str, cache_dir: Path | None) -> Path:
    """Return the root of the cache, which `what` needs, made if need be.

    Raises:
        ShardError: If there is no place for it, or it may not be written to.
    """
    root = cache_root(cache_dir)
    if root is None:
        raise ShardError(_refusal(what, "this user has no home"))
    try:
        root.mkdir(parents=True, exist_ok=True)
        if not may(root, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        if error.errno not in NO_PLACE:  # a full disk, or one that does not answer
            raise
        where = f"{root} cannot be written to: {error.strerror}"
        raise ShardError(_refusal(what, where)) from error
    return root


def _refusal(what: str, why: str) -> str:
    return (
        f"{what} need the cache, and there is none ({why}); name a folder of this machine as "
        "data.cache_dir, or as --cache-dir of the shard tools"
    )
