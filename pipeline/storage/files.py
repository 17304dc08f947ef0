"""Files by path, on this machine or in a bucket: Beam's filesystems, with errors of one line.

Nothing else in the package lists, opens or renames a file.
"""

from __future__ import annotations

import contextlib
import errno
import fnmatch
import glob
import importlib
import os
import posixpath
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from pipeline import beam_internals
from pipeline.core.errors import InputError, OutputError, RunError

STANDARD_STREAM = "-"
"""What stands for standard input or output in place of a path."""

_EXTRAS = {"gs": ("gcp", "google.cloud.storage"), "s3": ("aws", "boto3")}
# As many as Linux follows.
_MAX_LINKS = 40


class FileInfo(NamedTuple):
    """A file and its size in bytes."""

    path: str
    size: int


def set_options(options: PipelineOptions) -> None:
    """Sets the options of the filesystems of buckets: keys, endpoints."""
    FileSystems.set_options(options)


def is_local(path: str) -> bool:
    """Whether a path is one of this machine's, rather than a URL."""
    return FileSystems.get_scheme(path) is None


def lacks_working_folder(path: str) -> bool:
    """Whether a path is relative, and the working folder has been removed."""
    if not is_local(path) or os.path.isabs(path):
        return False
    try:
        os.getcwd()
    except FileNotFoundError:
        return True
    return False


def missing_filesystem(path: str) -> str | None:
    """The remedy for a path that no installed filesystem can open; None for other paths."""
    scheme = FileSystems.get_scheme(path)
    extra, module = _EXTRAS.get(scheme, (None, None))
    try:
        FileSystems.get_filesystem(path)
        # Beam has a filesystem for s3 whether or not it has what that needs.
        if module is not None:
            importlib.import_module(module)
    except (ValueError, ImportError, BeamIOError):
        remedy = f"pip install 'unbabel-cli[{extra}]'" if extra else "use a path, gs:// or s3://"
        return f"{path}: no filesystem for {scheme}:// is installed: {remedy}"
    return None


def find(pattern: str) -> list[FileInfo]:
    """The files that a path or glob names, by path; a path that exists is a path, not a glob.

    Raises:
        InputError: there is none, or a folder is named, or it cannot be listed.
    """
    try:
        found = _find_local(pattern) if is_local(pattern) else _find_remote(pattern)
    except InputError:
        raise
    except Exception as error:  # the client of a bucket may raise anything
        raise InputError(f"{pattern}: cannot be found: {reason(error)}") from error
    if not found:
        kind = "no file matches this pattern" if glob.has_magic(pattern) else "no such file"
        raise InputError(f"{pattern}: {kind}")
    return sorted(found)


def _find_local(pattern: str) -> list[FileInfo]:
    # Beam's own listing walks every folder below, and finds nothing for a pattern without one.
    if os.path.isdir(pattern):
        raise InputError(f"{pattern}: is a folder: name its files, {os.path.join(pattern, '*')}")
    try:
        os.stat(pattern)
        paths = [pattern]
    except (FileNotFoundError, NotADirectoryError):
        paths = [path for path in glob.glob(pattern, recursive=True) if not os.path.isdir(path)]
    for path in paths:
        if not os.access(path, os.R_OK):
            raise InputError(f"{path}: {_why_unreadable(path)}")
        if not os.path.isfile(path):
            raise InputError(f"{path}: is a pipe, socket or device: name it by itself, not by a *")
    return [FileInfo(path, os.path.getsize(path)) for path in paths]


def _why_unreadable(path: str) -> str:
    try:
        os.stat(path)
    except FileNotFoundError:
        if os.path.islink(path):
            return f"no such file: this is a link to {os.readlink(path)}, which is not there"
        return "no such file"
    except OSError as error:
        return f"cannot be read: {reason(error)}"
    return "cannot be read: permission denied"


def _find_remote(pattern: str) -> list[FileInfo]:
    filesystem = FileSystems.get_filesystem(pattern)
    if filesystem.exists(pattern):
        found = [filesystem.metadata(pattern)]
    else:
        found = FileSystems.match([pattern])[0].metadata_list
    return [FileInfo(each.path, each.size_in_bytes) for each in found]


def descriptor_of(path: str) -> int | None:
    """The number of this process' descriptor that a path names, directly or by links.

    `/dev/stderr`, `/dev/fd/N` and `/proc/self/fd/N` are such paths; None for all others.
    """
    for _ in range(_MAX_LINKS):
        folder, name = os.path.split(path)
        if name.isdecimal() and _is_folder_of_descriptors(folder):
            return int(name)
        try:
            path = os.path.join(folder, os.readlink(path))
        except (OSError, ValueError):
            break
    return None


def _is_folder_of_descriptors(folder: str) -> bool:
    if folder == "/dev/fd":
        return True
    own = rf"/proc/({os.getpid()}|self)(/task/\d+)?/fd"
    return re.fullmatch(own, os.path.realpath(folder)) is not None


def is_stream(path: str) -> bool:
    """Whether a path leads to a device, pipe or socket rather than to a file or folder."""
    mode = _mode(path)
    return mode is not None and not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def is_pipe(path: str) -> bool:
    """Whether a path leads to a pipe, named or not."""
    mode = _mode(path)
    return mode is not None and stat.S_ISFIFO(mode)


def _mode(path: str) -> int | None:
    try:
        return os.stat(path).st_mode
    except OSError:
        return None


def identity(path: str) -> str:
    """The same for two names of one file."""
    return os.path.realpath(path) if is_local(path) else path


def names(pattern: str, path: str) -> bool:
    """Whether a path or glob matches a path, which need not exist."""
    if identity(pattern) == identity(path):
        return True
    if is_local(pattern) != is_local(path) or not glob.has_magic(pattern):
        return False
    if not is_local(pattern):
        expression = FileSystems.get_filesystem(pattern).translate_pattern(pattern)
        return re.fullmatch(expression, path) is not None
    folder, name = os.path.split(os.path.realpath(path))
    asked_folder, asked_name = os.path.split(pattern)
    if asked_name == "**":
        asked_folder, asked_name = pattern, "*"
    if name.startswith(".") and not asked_name.startswith("."):
        return False
    if not fnmatch.fnmatchcase(name, asked_name):
        return False
    # Absolute, as a relative `**` would leave out the folder that it starts from.
    start = "" if os.path.isabs(asked_folder) else os.getcwd()
    folders = glob.glob(os.path.join(start, asked_folder, ""), recursive=True)
    return folder in map(os.path.realpath, folders)


def open_to_read(path: str) -> BinaryIO:
    """Opens the bytes of a file as they are stored.

    Raises:
        InputError: it cannot be opened.
    """
    with reading(path):
        stream: BinaryIO = FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED)
        return stream


@contextlib.contextmanager
def reading(path: str) -> Iterator[None]:
    """Turns what goes wrong while a file is read into an InputError that names it."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # the client of a bucket may raise anything
        raise InputError(f"{path}: cannot be read: {reason(error)}") from error


@contextlib.contextmanager
def writing(path: str) -> Iterator[None]:
    """Turns what goes wrong while a file is written into an OutputError that names it."""
    try:
        yield
    except (RunError, BrokenPipeError):
        raise
    except Exception as error:
        # On this machine this is an OSError; the client of a bucket may raise anything.
        if is_local(path) and not isinstance(error, OSError):
            raise
        raise OutputError(f"{path}: cannot be written: {reason(error)}") from error


def sync_folder(path: str) -> None:
    """Sees that the names in a folder of this machine are on the disk."""
    descriptor = os.open(path or ".", os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def create(path: str) -> BinaryIO:
    """Opens a new file to write its bytes as they are."""
    stream: BinaryIO = FileSystems.create(path, compression_type=CompressionTypes.UNCOMPRESSED)
    return stream


def create_empty(path: str) -> None:
    """Creates a file without any bytes."""
    filesystem = FileSystems.get_filesystem(path)
    if filesystem.scheme() != "s3":
        create(path).close()
        return
    beam_internals.put_empty_s3_object(filesystem, path)


def shards_of(path: str) -> list[str]:
    """The files whose names are a path's with `-SSSSS-of-NNNNN` added."""
    shard = re.compile(re.escape(posixpath.basename(path)) + r"-\d{5}-of-\d{5}")
    folder = posixpath.dirname(path)
    if is_local(path):
        listed = [posixpath.join(folder, name) for name in os.listdir(folder or ".")]
    else:
        found = FileSystems.match([posixpath.join(folder, "*")])
        listed = [info.path for info in found[0].metadata_list]
    return [each for each in listed if shard.fullmatch(posixpath.basename(each))]


def scratch_folder() -> tempfile.TemporaryDirectory[str]:
    """Makes a folder for the temporary files of a run, removed when the context ends.

    Raises:
        OutputError: nothing can be written to any of the folders for temporary files.
    """
    try:
        # After an interruption a step may still be writing there.
        return tempfile.TemporaryDirectory(prefix="unbabel_cli-", ignore_cleanup_errors=True)
    except OSError as error:
        raise OutputError(
            f"no folder for temporary files: {error.strerror}: name one with TMPDIR"
        ) from error


def join(folder: str, name: str) -> str:
    """A file in a folder."""
    return posixpath.join(folder, name)


def exists(path: str) -> bool:
    """Whether there is a file at a path."""
    return bool(FileSystems.exists(path))


def rename(source: str, destination: str) -> None:
    """Renames a file, in place of one that may have the new name."""
    if is_local(source):
        # A symbolic link stays one: what it points to is replaced.
        os.replace(source, os.path.realpath(destination))
    else:
        FileSystems.rename([source], [destination])


def remove(path: str) -> None:
    """Removes a file, if it is there."""
    if is_local(path):
        with contextlib.suppress(FileNotFoundError):
            os.remove(path)
    elif FileSystems.exists(path):
        FileSystems.delete([path])


def remove_folder(folder: str) -> None:
    """Removes a folder and the files in it, if it is there."""
    if is_local(folder):
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(folder)
        return
    found = FileSystems.match([posixpath.join(folder, "*")])
    FileSystems.delete([info.path for info in found[0].metadata_list])


def reason(error: BaseException) -> str:
    """The reason of an error, in one line; looks inside Beam's errors."""
    if isinstance(error, BeamIOError) and error.exception_details:
        return reason(next(iter(error.exception_details.values())))
    if isinstance(error, OSError) and error.errno == errno.ELOOP:
        return "links lead in a circle"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    text = str(error.args[0] if error.args else "") or type(error).__name__
    return text.splitlines()[0]
