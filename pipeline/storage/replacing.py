"""Files that take the place of earlier ones, complete or not at all.

A file is prepared beside its place, under a temporary name, and flushed to the disk. When all files
of a run are prepared, they take their places together.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import posixpath
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import BinaryIO

from pipeline.storage import files

_logger = logging.getLogger(__name__)

Write = Callable[[bytes], int]

# A name has at most 255 bytes, and a character up to four of them.
_NAME_CHARACTERS = 32
# The filesystem has no hard links, the file has too many, or it belongs to somebody else.
_NO_HARD_LINKS = (errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS)
_ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def temporary_name(path: str, run_id: str) -> str:
    """The name beside `path` under which a run writes it until it is complete.

    No two paths of a run have the same one.
    """
    return _name_beside(path, f"{run_id}.tmp")


def _name_beside(path: str, ending: str) -> str:
    # Where a symbolic link leads to, which may be on another disk.
    folder, name = posixpath.split(os.path.realpath(path) if os.path.islink(path) else path)
    if len(name) > _NAME_CHARACTERS:
        # Long names may begin or end alike.
        digest = hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()
        name = f"{name[:_NAME_CHARACTERS]}.{digest[:16]}"
    return posixpath.join(folder, f".{name}.{ending}")


@contextlib.contextmanager
def replacing(path: str, run_id: str) -> Iterator[Write]:
    """Yields a function that writes to a file which replaces `path` if the body succeeds.

    Raises:
        OutputError: it cannot be written.
    """
    with preparing(path, run_id) as write:
        yield write
    with _removed_on_failure(temporary_name(path, run_id)):
        replace(path, run_id)


@contextlib.contextmanager
def preparing(path: str, run_id: str) -> Iterator[Write]:
    """Yields a function that writes to a file beside `path`, which a failure of the body removes.

    On this machine the file has the mode and, where permitted, the owner of the one at `path`.

    Raises:
        OutputError: it cannot be written.
    """
    temporary = temporary_name(path, run_id)
    created = _create_local(temporary, path) if files.is_local(path) else _create_remote(temporary)
    with files.writing(path), _removed_on_failure(temporary), created as write:
        yield write


@contextlib.contextmanager
def _create_local(temporary: str, path: str) -> Iterator[Write]:
    with files.create(temporary) as stream:
        _take_over_permissions(stream.fileno(), path)
        yield stream.write
        stream.flush()
        os.fsync(stream.fileno())


@contextlib.contextmanager
def _create_remote(path: str) -> Iterator[Write]:
    """Creates an object with the first bytes: Beam cannot write an S3 object that has none."""
    with contextlib.ExitStack() as stack:
        streams: list[BinaryIO] = []

        def write(data: bytes) -> int:
            if data and not streams:
                streams.append(stack.enter_context(files.create(path)))
            return streams[0].write(data) if data else 0

        yield write
        if not streams:
            files.create_empty(path)


def _take_over_permissions(descriptor: int, path: str) -> None:
    """Gives a new file the owner, where permitted, and the mode of the one at `path`, if any."""
    try:
        earlier = os.stat(path)
    except FileNotFoundError:
        return
    for owner, group in ((earlier.st_uid, -1), (-1, earlier.st_gid)):
        # Forbidden, or an id that the filesystem does not know.
        with contextlib.suppress(OSError):
            os.fchown(descriptor, owner, group)
    mode = earlier.st_mode & 0o777
    # Not every filesystem has modes to set; there all files have the same one.
    if mode != os.fstat(descriptor).st_mode & 0o777:
        os.fchmod(descriptor, mode)


@contextlib.contextmanager
def _removed_on_failure(path: str) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with contextlib.suppress(Exception):  # the first error is the one that is reported
            files.remove(path)
        raise


def replace(path: str, run_id: str) -> None:
    """Puts the prepared file in the place of `path`. A second call changes nothing.

    Raises:
        OutputError: it cannot be written.
    """
    temporary = temporary_name(path, run_id)
    with files.writing(path):
        if files.exists(temporary) or not files.exists(path):
            files.rename(temporary, path)


def replace_together(paths: Iterable[str], run_id: str, stale: Iterable[str] = ()) -> None:
    """Puts the prepared files in the places of all `paths`, and removes the files `stale`.

    On this machine all changes are made or none, and signals do not interrupt them: a failure
    brings the earlier files back. Without hard links earlier files cannot be kept; there, and in
    buckets, the changes before the failed one stay.

    Raises:
        OutputError: one cannot be written or removed.
    """
    changes = [(path, partial(replace, path, run_id)) for path in paths]
    changes += [(path, partial(_remove, path)) for path in stale]
    # Objects in buckets first: nothing brings them back once a local file has been replaced.
    changes.sort(key=lambda change: files.is_local(change[0]))
    with _uninterrupted(), contextlib.ExitStack() as kept, contextlib.ExitStack() as undo:
        if len(changes) > 1:
            for path, _ in changes:
                if files.is_local(path):
                    undo.callback(kept.enter_context(_kept(path, run_id)))
        for _, change in changes:
            change()
        undo.pop_all()


def _remove(path: str) -> None:
    with files.writing(path):
        files.remove(path)


@contextlib.contextmanager
def _kept(path: str, run_id: str) -> Iterator[Callable[[], None]]:
    """Keeps the local file at a path during the body; yields a function that brings it back."""
    place, kept = os.path.realpath(path), _name_beside(path, f"{run_id}.old")
    with files.writing(path):
        try:
            os.link(place, kept)
        except FileNotFoundError:
            yield partial(files.remove, path)
            return
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            yield lambda: None
            return
    try:
        yield partial(os.replace, kept, place)
    finally:
        try:
            files.remove(kept)
        except OSError as error:  # the files are in their places: no failure any more
            _logger.warning("%s: cannot be removed: %s", kept, error.strerror)


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ignores the signals that end the process: the run is about to end anyway."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.signal(number, signal.SIG_IGN) for number in _ENDING_SIGNALS}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
