"""From files to chunks: the same lines at the same offsets, however files are cut and packed."""

import bz2
import gzip
import itertools
import os
import re
import struct
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path

import oracle
import pytest
import zstandard
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pipeline.core.errors import InputError
from pipeline.core.events import LINE_TOO_LONG
from pipeline.parsing.chunks import Chunk
from pipeline.sources import progress, sections
from pipeline.sources.sections import Input, find_inputs, plan_tasks, read_chunks
from pipeline.storage import compression
from pipeline.storage.files import FileInfo

Line = tuple[str, int, bytes]

_COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".zst": zstandard.compress,
}
_COMPRESSED = [ending for ending in _COMPRESS if ending]

# Files of little pieces, so that line ends meet every limit of blocks and sections.
_PIECES = [b"a", b"{}", b"\n", b"\r\n", b"\r", b"\n\n", b" ", b"\0", b"\xef\xbb\xbf", b"x" * 9]
_contents = st.builds(
    lambda mark, pieces: mark + b"".join(pieces),
    st.sampled_from([b"", b"", b"\xef\xbb\xbf"]),
    st.lists(st.sampled_from(_PIECES), max_size=30),
)
# The functions are called with one folder over and over: each example writes files of its own.
_in_one_folder = settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def _write(folder: Path, contents: Sequence[tuple[str, bytes]]) -> list[str]:
    """Writes files, given by their endings and uncompressed contents; gives their paths."""
    paths = []
    for index, (ending, content) in enumerate(contents):
        path = folder / f"{index}.json{ending}"
        path.write_bytes(_COMPRESS[ending](content))
        paths.append(str(path))
    return paths


def _chunks(paths: Sequence[str], max_lines: int | None = None) -> list[Chunk]:
    tasks = plan_tasks(find_inputs([Input(path) for path in paths]))
    return [chunk for task in tasks for chunk in read_chunks(task, max_lines)]


def _lines(chunks: Sequence[Chunk]) -> list[Line]:
    return sorted(
        (*chunk.origin(position)[1:3], line) for chunk in chunks for position, line in chunk.lines()
    )


def _expected(paths: Sequence[str], contents: Sequence[bytes]) -> list[Line]:
    return sorted(
        (path, offset, line)
        for path, content in zip(paths, contents, strict=True)
        for offset, line, _ in oracle.classified(content)
    )


def _set_sizes(
    patch: pytest.MonkeyPatch, *, task: int, block: int, min_block: int, max_line: int = 2**26
) -> None:
    patch.setattr(sections, "TASK_BYTES", task)
    patch.setattr(sections, "BLOCK_BYTES", block)
    patch.setattr(sections, "_MIN_BLOCK_BYTES", min(min_block, block))
    patch.setattr(sections, "MAX_LINE_BYTES", max_line)


# A block holds a byte order mark, as larger ones do.
_block_sizes = st.integers(3, 12) | st.integers(3, 200)


# ---------------------------------------------------------------------------------------------
# Lines and offsets


@_in_one_folder
@given(
    st.lists(st.tuples(st.sampled_from([*_COMPRESS, ""]), _contents), min_size=1, max_size=4),
    st.integers(1, 12) | st.integers(1, 200),
    _block_sizes,
    _block_sizes,
    st.none() | st.integers(1, 5),
)
@example([("", b"\xef\xbb\xbfab\ncd")], 1, 3, 3, None)
@example([("", b"a\nb\n")], 2, 4, 4, None)
@example([("", b"a\r\nb")], 2, 3, 3, 1)
@example([("", b"aaaaa\n\n")], 4, 3, 3, None)  # what is skipped ends where a block ends
@example([("", b"a\r")], 4, 3, 3, None)
def test_every_line_is_read_once_with_its_source_and_offset(
    tmp_path: Path,
    contents: list[tuple[str, bytes]],
    task: int,
    block: int,
    min_block: int,
    max_lines: int | None,
) -> None:
    paths = _write(tmp_path, contents)
    with pytest.MonkeyPatch.context() as patch:
        _set_sizes(patch, task=task, block=block, min_block=min_block)
        chunks = _chunks(paths, max_lines)
    assert _lines(chunks) == _expected(paths, [content for _, content in contents])
    assert all(chunk.data and chunk.fault is None for chunk in chunks)


_ELEMENTS = [b"{}", b'{"a": [1, 2]}', b"[]", b'"]"', b"12", b"x" * 9]


@pytest.mark.clause("1.12")
@_in_one_folder
@given(
    st.lists(st.sampled_from(_ELEMENTS)),
    st.sampled_from([b",", b", ", b"\n\t,\r\n"]),
    st.sampled_from([b"", b" ", b"\n" * 200, b"\xef\xbb\xbf", b"\xef\xbb\xbf \n"]),
    st.sampled_from([*_COMPRESS]),
    st.integers(1, 40),
    _block_sizes,
    st.integers(1, 12),
    st.none() | st.integers(1, 5),
)
def test_the_elements_of_an_array_are_its_lines_with_their_offsets(
    tmp_path: Path,
    elements: list[bytes],
    comma: bytes,
    space: bytes,
    ending: str,
    task: int,
    block: int,
    part: int,
    max_lines: int | None,
) -> None:
    content = space + b"[" + comma.join(elements) + b"]" + space.removeprefix(b"\xef\xbb\xbf")
    paths = _write(tmp_path, [(ending, content), ("", b"a neighbour")])
    with pytest.MonkeyPatch.context() as patch:
        _set_sizes(patch, task=task, block=block, min_block=3)
        patch.setattr(sections, "ARRAY_PART_BYTES", part)
        chunks = _chunks(paths, max_lines)
    found = [(path, offset, text.rstrip()) for path, offset, text in _lines(chunks)]
    assert found == _expected(paths, [content, b"a neighbour"])


@_in_one_folder
@given(
    st.lists(st.tuples(st.sampled_from(["", ".gz"]), _contents), min_size=1, max_size=3),
    st.integers(1, 40),
    st.integers(1, 5),
)
def test_a_chunk_has_at_most_the_lines_asked_for(
    tmp_path: Path, contents: list[tuple[str, bytes]], task: int, max_lines: int
) -> None:
    paths = _write(tmp_path, contents)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sections, "TASK_BYTES", task)
        chunks = _chunks(paths, max_lines)
    assert all(len([*chunk.lines()]) <= max_lines for chunk in chunks)
    assert _lines(chunks) == _expected(paths, [content for _, content in contents])


def test_chunks_are_as_large_as_they_may_be(tmp_path: Path) -> None:
    paths = _write(tmp_path, [("", b"ab\n" * 10), ("", b"cd\n" * 5), (".gz", b"ef\n" * 10)])
    assert [len([*chunk.lines()]) for chunk in _chunks(paths)] == [25]
    assert [len([*chunk.lines()]) for chunk in _chunks(paths, 10)] == [10, 10, 5]


def test_fewer_lines_at_a_time_take_smaller_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[int] = []
    monkeypatch.setattr(progress, "advance", reads.append)
    paths = _write(tmp_path, [("", b"0123456\n" * 2**16)])
    sizes = {}
    for max_lines in (None, 1_000, 1):
        reads.clear()
        assert len(_lines(_chunks(paths, max_lines))) == 2**16
        assert sum(reads) == 2**19
        sizes[max_lines] = max(reads)
    assert sizes == {None: 2**19, 1_000: 256_000, 1: 2**16}


# ---------------------------------------------------------------------------------------------
# Files are read to their ends, not to a size


def _lines_of_told_size(path: str, told_size: int) -> list[Line]:
    tasks = plan_tasks([(FileInfo(path, told_size), path)])
    return _lines([chunk for task in tasks for chunk in read_chunks(task)])


@_in_one_folder
@given(_contents, st.integers(0, 150), st.integers(1, 40), _block_sizes)
@example(b"a\nb\n", 0, 10, 3)
@example(b"a\nb\n", 2, 2, 3)
@example(b"a\nb\n", 150, 10, 3)
def test_a_file_is_read_to_its_end_whatever_its_size_was_said_to_be(
    tmp_path: Path, content: bytes, told_size: int, task: int, block: int
) -> None:
    (path,) = _write(tmp_path, [("", content)])
    with pytest.MonkeyPatch.context() as patch:
        _set_sizes(patch, task=task, block=block, min_block=3)
        lines = _lines_of_told_size(path, told_size)
    assert lines == _expected([path], [content])


def test_what_is_appended_until_it_is_read_is_read(tmp_path: Path) -> None:
    (path,) = _write(tmp_path, [("", b"a\nb")])
    tasks = list(plan_tasks(find_inputs([Input(path)])))
    with open(path, "ab") as file:
        file.write(b"c\nd\n")
    lines = _lines([chunk for task in tasks for chunk in read_chunks(task)])
    assert [line for *_, line in lines] == [b"a", b"bc", b"d"]


@pytest.mark.skipif(not os.path.exists("/proc/version"), reason="there is no /proc")
def test_a_file_that_the_system_makes_up_is_read() -> None:
    assert os.path.getsize("/proc/version") == 0
    content = Path("/proc/version").read_bytes()
    assert _lines(_chunks(["/proc/version"])) == _expected(["/proc/version"], [content])


def test_an_empty_object_of_a_bucket_is_not_read() -> None:
    assert not list(plan_tasks([(FileInfo("gs://bucket/empty.json", 0), "")]))


# ---------------------------------------------------------------------------------------------
# Lines that are too long

_LONGEST, _CUT = 20, 5
_pieces_of_lines = st.integers(0, 24) | st.sampled_from([_LONGEST, _LONGEST + 1, 50])


@_in_one_folder
@given(
    st.lists(st.tuples(_pieces_of_lines, st.sampled_from([b"\n", b"\n", b"\r\n"])), max_size=8),
    st.booleans(),
    st.sampled_from([b"", b"\xef\xbb\xbf"]),
    st.sampled_from(["", ".gz"]),
    st.sampled_from([*range(3, 21)]),
    st.integers(1, 100),
    st.none() | st.integers(1, 3),
)
@example([(50, b"\n"), (1, b"\n")], True, b"", "", 8, 25, None)
@example([(31, b"\n"), (1, b"\n")], True, b"", ".gz", 8, 25, None)
@example([(1, b"\n"), (21, b"\n"), (21, b"\n"), (0, b"\n")], False, b"", "", 20, 7, 1)
def test_a_line_that_is_too_long_is_one_cut_chunk_and_its_neighbours_are_whole(
    tmp_path: Path,
    sizes: list[tuple[int, bytes]],
    ended: bool,
    mark: bytes,
    ending: str,
    block: int,
    task: int,
    max_lines: int | None,
) -> None:
    content = mark + b"".join(
        bytes([ord("a") + index]) * size + end for index, (size, end) in enumerate(sizes)
    )
    content = content if ended else content.removesuffix(b"\n")
    paths = _write(tmp_path, [(ending, content), ("", b"neighbour")])
    with pytest.MonkeyPatch.context() as patch:
        _set_sizes(patch, task=task, block=block, min_block=3, max_line=_LONGEST)
        patch.setattr(sections, "CUT_LINE_BYTES", _CUT)
        chunks = _chunks(paths, max_lines)
    # What is too long is measured without LF, with the CR before it.
    raw = {offset: content[offset:].split(b"\n")[0] for offset, _ in oracle.lines_of(content)}
    too_long = [offset for offset, text in raw.items() if len(text) > _LONGEST]
    cut = [chunk for chunk in chunks if chunk.fault]
    assert [(*chunk.origin(0)[1:3], chunk.data) for chunk in cut] == [
        (paths[0], offset, content[offset : offset + _CUT]) for offset in too_long
    ]
    assert _lines([chunk for chunk in chunks if chunk.fault is None]) == [
        (path, offset, line)
        for path, offset, line in _expected(paths, [content, b"neighbour"])
        if path != paths[0] or offset not in too_long
    ]


def test_a_line_of_many_blocks_is_whole_if_it_is_not_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _set_sizes(monkeypatch, task=2**16, block=2**12, min_block=2**12, max_line=2**20)
    contents = [b"short\n" + b"x" * size + b"\nlast" for size in (2**20, 2**20 + 1)]
    whole, cut = (_chunks(_write(tmp_path, [("", content)])) for content in contents)
    assert [len(line) for *_, line in _lines(whole)] == [5, 2**20, 4]
    assert [chunk.fault == LINE_TOO_LONG for chunk in cut] == [False, True, False]


def test_a_line_of_many_blocks_is_put_together_without_copies_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _set_sizes(monkeypatch, task=2**30, block=2**16, min_block=2**16)
    size = 2**24
    paths = _write(tmp_path, [("", b"x" * size + b"\n")])
    peaks = []
    for _ in range(3):  # threads of other tests may add to one of them
        tracemalloc.start()
        try:
            (chunk,) = _chunks(paths)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
        assert len(chunk.data) == size + 1
    assert min(peaks) < 1.5 * size


# ---------------------------------------------------------------------------------------------
# Compressed files

_TEXT = b"".join(b'{"line": %d}\n' % number for number in range(2_000))


@pytest.mark.parametrize("ending", _COMPRESSED)
@pytest.mark.parametrize(
    "parts", [[_TEXT], [b""], [_TEXT, b"x\n"], [b"no line ", b"ends", b"", b" here\nx"]]
)
def test_several_streams_in_a_file_are_one_text(
    tmp_path: Path, ending: str, parts: list[bytes]
) -> None:
    path = tmp_path / f"x.json{ending}"
    path.write_bytes(b"".join(map(_COMPRESS[ending], parts)))
    assert _lines(_chunks([str(path)])) == _expected([str(path)], [b"".join(parts)])


@pytest.mark.parametrize("ending", _COMPRESSED)
@pytest.mark.parametrize("padding", [1, 2**16, 2**17 + 1])
def test_zero_bytes_may_pad_a_stream(tmp_path: Path, ending: str, padding: int) -> None:
    path = tmp_path / f"x.json{ending}"
    first, second = map(_COMPRESS[ending], (_TEXT, b"x\n"))
    path.write_bytes(first + bytes(padding) + second + bytes(padding))
    assert _lines(_chunks([str(path)])) == _expected([str(path)], [_TEXT + b"x\n"])


@_in_one_folder
@given(
    st.sampled_from(_COMPRESSED),
    st.lists(
        st.tuples(st.sampled_from([b"", b"a", b"b\n" * 50, bytes(5_000)]), st.integers(0, 9)),
        min_size=1,
        max_size=6,
    ),
    st.integers(1, 30),
    st.integers(1, 200),
    st.integers(3, 50),
)
def test_it_does_not_matter_how_much_is_decompressed_at_a_time(
    tmp_path: Path,
    ending: str,
    streams: list[tuple[bytes, int]],
    input_bytes: int,
    read_bytes: int,
    block: int,
) -> None:
    path = tmp_path / f"x.json{ending}"
    path.write_bytes(
        b"".join(_COMPRESS[ending](text) + bytes(padding) for text, padding in streams)
    )
    known = compression._COMPRESSIONS[ending]
    with pytest.MonkeyPatch.context() as patch:
        changed = known._replace(input_bytes=input_bytes)
        patch.setitem(compression._COMPRESSIONS, ending, changed)
        patch.setattr(compression._DecompressingReader, "_READ_BYTES", read_bytes)
        _set_sizes(patch, task=100, block=block, min_block=3)
        lines = _lines(_chunks([str(path)]))
    assert lines == _expected([str(path)], [b"".join(text for text, _ in streams)])


@pytest.mark.clause("6.7")
@pytest.mark.parametrize("ending", _COMPRESSED)
def test_memory_does_not_depend_on_what_little_input_expands_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    _set_sizes(monkeypatch, task=2**20, block=2**20, min_block=2**16, max_line=2**20)
    path = tmp_path / f"x.json{ending}"
    path.write_bytes(_COMPRESS[ending](b"a\n" + bytes(2**27) + b"\nb\n"))
    tracemalloc.start()
    try:
        chunks = _chunks([str(path)])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [chunk.fault == LINE_TOO_LONG for chunk in chunks] == [False, True, False]
    assert peak < 100 * 2**20


@pytest.mark.parametrize("ending", _COMPRESSED)
def test_a_file_of_many_empty_streams_is_read(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"x.json{ending}"
    path.write_bytes(_COMPRESS[ending](b"a\n") + _COMPRESS[ending](b"") * 20_000)
    assert _lines(_chunks([str(path)])) == [(str(path), 0, b"a")]


def _skippable_frame(size: int, content: bytes) -> bytes:
    return struct.pack("<II", 0x184D2A50, size) + content


def _frame_of_window(exponent: int) -> bytes:
    """A frame of one raw block (RFC 8878, 3.1.1) that asks for a window of 2**exponent bytes."""
    text = b"a\n"
    header = struct.pack("<IBB", 0xFD2FB528, 0, (exponent - 10) << 3)
    return header + struct.pack("<I", len(text) << 3 | 1)[:3] + text


def test_frames_to_skip_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "x.zst"
    skipped = _skippable_frame(5, b"12345") + _skippable_frame(0, b"")
    path.write_bytes(skipped + zstandard.compress(b"a\n") + skipped + zstandard.compress(b"b"))
    assert _lines(_chunks([str(path)])) == [(str(path), 0, b"a"), (str(path), 2, b"b")]


def test_a_frame_to_skip_that_does_not_end_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "x.zst"
    path.write_bytes(zstandard.compress(b"a\n") + _skippable_frame(2**32 - 1, b"x" * 5_000))
    with pytest.raises(InputError, match=re.escape(f"{path}: cannot be read: ") + ".*cut off"):
        _chunks([str(path)])


def test_a_window_may_be_larger_than_usual_but_not_any_size(tmp_path: Path) -> None:
    path = tmp_path / "x.zst"
    path.write_bytes(_frame_of_window(28))
    assert _lines(_chunks([str(path)])) == [(str(path), 0, b"a")]
    path.write_bytes(_frame_of_window(40))
    _assert_refused(path)


@pytest.mark.parametrize("ending", [".GZ", ".Bz2", ".ZST"])
def test_the_case_of_an_ending_does_not_matter(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"X{ending}"
    path.write_bytes(_COMPRESS[ending.lower()](b"a\n"))
    assert _lines(_chunks([str(path)])) == [(str(path), 0, b"a")]


def test_a_stream_without_its_size_and_with_a_checksum_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.zst"
    compressor = zstandard.ZstdCompressor(write_content_size=False, write_checksum=True)
    path.write_bytes(compressor.compress(_TEXT))
    assert _lines(_chunks([str(path)])) == _expected([str(path)], [_TEXT])


def _assert_refused(path: Path) -> None:
    with pytest.raises(InputError, match=re.escape(f"{path}: cannot be read: ")) as caught:
        _chunks([str(path)])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ending", _COMPRESSED)
def test_a_file_that_is_cut_off_anywhere_is_named(tmp_path: Path, ending: str) -> None:
    whole = _COMPRESS[ending](_TEXT[:2_000])
    path = tmp_path / f"x.json{ending}"
    for size in range(1, len(whole)):
        path.write_bytes(whole[:size])
        _assert_refused(path)
    path.write_bytes(whole + whole[:-1])
    _assert_refused(path)


@pytest.mark.parametrize("ending", _COMPRESSED)
@pytest.mark.parametrize("change", ["not compressed", "another byte", "more behind it"])
def test_a_corrupt_file_is_named(tmp_path: Path, ending: str, change: str) -> None:
    whole = bytearray(zstandard.ZstdCompressor(write_checksum=True).compress(_TEXT))
    if ending != ".zst":
        whole = bytearray(_COMPRESS[ending](_TEXT))
    if change == "not compressed":
        whole = bytearray(_TEXT)
    elif change == "another byte":
        whole[len(whole) // 2] ^= 0xFF
    else:
        whole += b"more"
    path = tmp_path / f"x.json{ending}"
    path.write_bytes(whole)
    _assert_refused(path)


def test_what_a_run_reads_is_reported_as_the_bytes_of_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[int] = []
    monkeypatch.setattr(progress, "advance", reads.append)
    paths = _write(tmp_path, [("", _TEXT), (".gz", _TEXT)])
    _chunks(paths)
    assert sum(reads) == sum(map(os.path.getsize, paths))


def test_a_file_that_vanishes_is_named(tmp_path: Path) -> None:
    (path,) = _write(tmp_path, [("", b"a\n")])
    (task,) = plan_tasks(find_inputs([Input(path)]))
    os.remove(path)
    with pytest.raises(InputError, match=re.escape(f"{path}: cannot be read: no such file")):
        next(read_chunks(task))


# ---------------------------------------------------------------------------------------------
# Inputs


def test_a_file_that_several_inputs_name_is_read_once_under_its_first_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _write(tmp_path, [("", b"a\n"), ("", b"b\n")])
    (tmp_path / "alias.json").symlink_to("1.json")
    inputs = ["0.json", "*.json", "./0.json", str(tmp_path / "1.json"), "alias.json"]
    assert [source for _, source in find_inputs(map(Input, inputs))] == ["0.json", "1.json"]


def test_a_path_that_exists_is_a_path_and_not_a_pattern(tmp_path: Path) -> None:
    for name in ("[ab].json", "a.json", "*"):
        (tmp_path / name).write_bytes(b"in " + name.encode())
    paths = [str(tmp_path / name) for name in ("[ab].json", "*")]
    expected = [(paths[0], 0, b"in [ab].json"), (paths[1], 0, b"in *")]
    assert _lines(_chunks(paths)) == sorted(expected)


def test_an_input_may_have_another_name_in_dead_letters(tmp_path: Path) -> None:
    (path,) = _write(tmp_path, [("", b"a\n")])
    ((info, source),) = find_inputs([Input(path, "-")])
    assert (info.path, source) == (path, "-")
    (task,) = plan_tasks([(info, source)])
    assert _lines([*read_chunks(task)]) == [("-", 0, b"a")]


def test_each_of_several_inputs_must_name_a_file(tmp_path: Path) -> None:
    (path,) = _write(tmp_path, [("", b"a\n")])
    with pytest.raises(InputError, match=r"missing\*\.json"):
        find_inputs([Input(path), Input(str(tmp_path / "missing*.json"))])


# ---------------------------------------------------------------------------------------------
# Tasks


@given(
    st.lists(st.tuples(st.sampled_from([".json", ".gz"]), st.integers(0, 50)), max_size=12),
    st.integers(1, 20),
    st.integers(1, 4),
)
@example([(".json", 1)] * 5, 20, 2)
def test_tasks_cover_every_byte_once_and_are_about_even(
    sizes: list[tuple[str, int]], task_bytes: int, task_files: int
) -> None:
    found = [
        (FileInfo(f"{index}{ending}", size), f"source-{index}")
        for index, (ending, size) in enumerate(sizes)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sections, "TASK_BYTES", task_bytes)
        patch.setattr(sections, "TASK_FILES", task_files)
        patch.setattr(sections, "_is_array", lambda _: False)
        tasks = list(plan_tasks(found))
    planned = [section for task in tasks for section in task.sections]
    for (path, size), source in found:
        mine = [section for section in planned if section.path == path]
        assert {section.source for section in mine} <= {source}
        if path.endswith(".gz"):
            assert [(section.start, section.stop) for section in mine] == [(0, None)]
            continue
        starts, stops = [each.start for each in mine], [each.stop for each in mine]
        # The last one goes on to the end, wherever that is by then.
        assert (starts, stops) == ([0, *stops[:-1]], [*starts[1:], None])
        assert starts[-1] < max(size, 1)
    # Packed as full as the order allows: a task ends where the next section does not fit.
    sizes_of = {info.path: info.size for info, _ in found}
    weights = [
        [
            (sizes_of[each.path] if each.stop is None else each.stop) - each.start
            for each in task.sections
        ]
        for task in tasks
    ]
    for weight in weights:
        assert 1 <= len(weight) <= task_files
        assert sum(weight) <= task_bytes or len(weight) == 1
    for weight, (following, *_) in itertools.pairwise(weights):
        assert len(weight) == task_files or sum(weight) + following > task_bytes
