"""Rows as files by the hour: no row is lost, and no file is overwritten."""

from collections import Counter
from datetime import datetime, timezone
from itertools import chain
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.test_stream import TestStream
from apache_beam.transforms.window import IntervalWindow, TimestampedValue
from apache_beam.utils.timestamp import Timestamp
from apache_beam.utils.windowed_value import PaneInfo, PaneInfoTiming
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.errors import OutputError
from pipeline.sinks.hourly_files import WriteHours, _WriteHourFn

pytestmark = pytest.mark.slow

_NOON = datetime(2018, 12, 26, 12, tzinfo=timezone.utc).timestamp()
_HOUR = 3600


def _write(stream: TestStream, folder: Path, lateness: int = 600) -> dict[str, list[bytes]]:
    """Plays a stream; gives the lines of each file, in any order."""
    options = PipelineOptions(["--runner=BundleBasedDirectRunner", "--streaming"])
    with beam.Pipeline(options=options) as pipeline:
        _ = (
            pipeline
            | stream.advance_watermark_to_infinity()
            | WriteHours(str(folder), "run", lateness)
        )
    return {path.name: sorted(path.read_bytes().splitlines()) for path in folder.iterdir()}


def _line(name: str, seconds: float) -> TimestampedValue:
    return TimestampedValue(name.encode(), _NOON + seconds)


def test_each_hour_of_event_time_is_a_file(tmp_path: Path) -> None:
    stream = TestStream().add_elements([_line("a", 0), _line("b", _HOUR - 1), _line("c", _HOUR)])
    assert _write(stream, tmp_path) == {
        "2018-12-26T12-run.json": [b"a", b"b"],
        "2018-12-26T13-run.json": [b"c"],
    }


def test_what_comes_after_its_hour_makes_files_of_its_own(tmp_path: Path) -> None:
    stream = (
        TestStream()
        .add_elements([_line("a", 0)])
        .advance_watermark_to(_NOON + _HOUR)
        .add_elements([_line("b", 60)])
        .add_elements([_line("c", 0)])
    )
    files = _write(stream, tmp_path)
    assert files.pop("2018-12-26T12-run.json") == [b"a"]
    assert {name[:-6] for name in files} == {"2018-12-26T12-run-000"}
    assert sorted(chain.from_iterable(files.values())) == [b"b", b"c"]


@settings(max_examples=20, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.integers(0, 3 * _HOUR).map(lambda seconds: ("watermark", seconds)),
            st.integers(0, 3 * _HOUR).map(lambda seconds: ("line", seconds)),
        ),
        max_size=20,
    )
)
def test_every_line_is_in_one_file_of_its_hour(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    stream, reached, written = TestStream(), 0, Counter[tuple[str, bytes]]()
    for number, (kind, seconds) in enumerate(steps):
        if kind == "watermark" and seconds > reached:
            stream, reached = stream.advance_watermark_to(_NOON + seconds), seconds
        elif kind == "line":
            # Up to the lateness that is allowed.
            at = max(seconds, reached - 600)
            stream = stream.add_elements([_line(f"line {number}", at)])
            written[f"2018-12-26T{12 + at // _HOUR}", f"line {number}".encode()] += 1
    files = _write(stream, tmp_path_factory.mktemp("hours"))
    assert written == Counter((name[:13], line) for name, lines in files.items() for line in lines)


def test_a_pane_that_is_written_again_makes_the_same_file(tmp_path: Path) -> None:
    window = IntervalWindow(Timestamp(_NOON), Timestamp(_NOON + _HOUR))
    pane = PaneInfo(False, False, PaneInfoTiming.LATE, 2, 1)
    for _ in range(2):
        (path,) = _WriteHourFn(str(tmp_path), "run").process((0, [b"a", b"b"]), window, pane)
        assert path == str(tmp_path / "2018-12-26T12-run-0002.json")
    assert [each.name for each in tmp_path.iterdir()] == ["2018-12-26T12-run-0002.json"]
    assert Path(path).read_bytes() == b"a\nb\n"


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "file"
    folder.write_bytes(b"")
    window = IntervalWindow(Timestamp(_NOON), Timestamp(_NOON + _HOUR))
    pane = PaneInfo(True, True, PaneInfoTiming.ON_TIME, 0, 0)
    with pytest.raises(OutputError, match=str(folder)):
        list(_WriteHourFn(str(folder), "run").process((0, [b"a"]), window, pane))
