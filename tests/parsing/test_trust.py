"""When the compiled kernel is used, and that every line goes to the model where it is not."""

from __future__ import annotations

import hashlib
import logging
import platform
import shutil
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated

import pytest
from copies import CHECKOUT
from odd_lines import SAMPLES
from pydantic import ConfigDict, Field, field_validator, model_validator

from pipeline.core import events
from pipeline.core.events import Event
from pipeline.core.tally import Tally
from pipeline.parsing import kernel, library, trust
from pipeline.parsing.chunks import WORTHWHILE_BYTES, Chunk, parse_chunk
from pipeline.parsing.trust import trusted_kernel

_NAME = "translation_delivered"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the libraries, for a process that has not loaded any."""
    copy = tmp_path / "native"
    shutil.copytree(library.FOLDER, copy)
    monkeypatch.setattr(library.load, "__defaults__", (copy,))
    trusted_kernel.cache_clear()
    yield copy
    trusted_kernel.cache_clear()


def _change(path: Path, content: bytes) -> None:
    """Replaces a library by another one, which is listed as if it had been built."""
    sums = path.with_name("SHA256SUMS")
    old, new = (hashlib.sha256(each).hexdigest() for each in (path.read_bytes(), content))
    path.write_bytes(content)
    sums.write_text(sums.read_text().replace(old, new))


def _own(folder: Path) -> Path:
    return folder / library.library_name(sys.platform, platform.machine())


def _lines_by_model(caplog: pytest.LogCaptureFixture) -> str:
    """Parses a block twice; what the log says of it, which is one line."""
    lines = [sample + b"\n" for sample in SAMPLES]
    data = b"".join(lines) * (1 + WORTHWHILE_BYTES // sum(map(len, lines)))
    chunk = Chunk.of(data)
    assert chunk.is_block
    for _ in range(2):
        tallies = [piece.tally for piece in parse_chunk(chunk, _NAME, ())]
        assert sum(tallies, Tally()) == Tally(accepted=data.count(b"\n"))
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "\n" not in record.message
    return record.message


# ---------------------------------------------------------------------------------------------
# The library


def test_the_kernel_is_there_and_trusted(caplog: pytest.LogCaptureFixture, folder: Path) -> None:
    assert trusted_kernel() is not None
    assert not caplog.records


def test_without_libraries_lines_go_to_the_model(
    caplog: pytest.LogCaptureFixture, folder: Path
) -> None:
    shutil.rmtree(folder)
    assert "SHA256SUMS" in _lines_by_model(caplog)


def test_on_another_processor_lines_go_to_the_model(
    caplog: pytest.LogCaptureFixture, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert "-riscv64" in _lines_by_model(caplog)


def test_a_damaged_library_is_not_loaded(caplog: pytest.LogCaptureFixture, folder: Path) -> None:
    path = _own(folder)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert path.name in _lines_by_model(caplog)


def test_a_library_that_is_none_is_not_used(caplog: pytest.LogCaptureFixture, folder: Path) -> None:
    _change(_own(folder), b"no machine code")
    assert path_in(_lines_by_model(caplog), folder)


def path_in(message: str, folder: Path) -> bool:
    return str(folder) in message


def test_a_library_without_the_kernel_is_not_used(
    caplog: pytest.LogCaptureFixture, folder: Path
) -> None:
    import _ctypes

    _change(_own(folder), Path(_ctypes.__file__).read_bytes())
    assert "walk" in _lines_by_model(caplog)


def test_a_library_of_another_kernel_is_not_used(
    caplog: pytest.LogCaptureFixture, folder: Path
) -> None:
    sums = folder / "SHA256SUMS"
    source = hashlib.sha256(Path(kernel.__file__).read_bytes()).hexdigest()
    sums.write_text(sums.read_text().replace(source, "0" * 64))
    assert "kernel.py" in _lines_by_model(caplog)


@pytest.mark.parametrize(
    ("system", "processor", "name"),
    [
        ("linux", "x86_64", "linux-x86_64.so"),
        ("linux", "aarch64", "linux-aarch64.so"),
        ("darwin", "x86_64", "macos-x86_64.dylib"),
        ("darwin", "arm64", "macos-arm64.dylib"),
    ],
)
def test_usual_machines_have_a_library(system: str, processor: str, name: str) -> None:
    assert library.library_name(system, processor) == name
    assert (library.FOLDER / name).stat().st_size > 0


def test_a_small_file_needs_no_kernel() -> None:
    program = (
        "import sys; from pipeline.parsing.chunks import Chunk, parse_chunk;"
        f"list(parse_chunk(Chunk.of({SAMPLES[0]!r} + b'\\n' * 200), {_NAME!r}, ()));"
        "print(*[name for name in sys.modules if 'parsing' in name])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    assert {*done.stdout.split()} == {
        *("pipeline.parsing", "pipeline.parsing.chunks", "pipeline.parsing.timeliness")
    }


# ---------------------------------------------------------------------------------------------
# The model


class _ShorterDuration(Event):
    duration: Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]


class _PositiveDuration(Event):
    duration: Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]


class _FewerWords(Event):
    nr_words: Annotated[int, Field(ge=0, le=10**9)]


class _OtherType(Event):
    nr_words: float  # type: ignore[assignment]


class _Named(Event):
    client_name: Annotated[str, Field(min_length=1)]


class _Alias(Event):
    client_name: Annotated[str, Field(validation_alias="client")]


class _Optional(Event):
    client_name: str = "unknown"


class _MoreFields(Event):
    region: str


class _NoExtraFields(Event):
    model_config = ConfigDict(extra="forbid")


class _Stripped(Event):
    model_config = ConfigDict(str_strip_whitespace=True)


class _ValidatedField(Event):
    @field_validator("client_name")
    @classmethod
    def _check(cls, value: str) -> str:
        return value


class _ValidatedAfter(Event):
    @model_validator(mode="after")
    def _check(self) -> _ValidatedAfter:
        return self


class _ValidatedBefore(Event):
    @model_validator(mode="before")
    @classmethod
    def _check(cls, value: object) -> object:
        return value


@pytest.mark.parametrize(
    "model",
    [
        *(_ShorterDuration, _PositiveDuration, _FewerWords, _OtherType, _Named, _Alias, _Optional),
        *(_MoreFields, _NoExtraFields, _Stripped),
        *(_ValidatedField, _ValidatedAfter, _ValidatedBefore),
    ],
)
def test_a_rule_that_the_kernel_does_not_know_is_noticed(model: type[Event]) -> None:
    walk = library.load()
    trust.check(Event, walk)
    with pytest.raises(ValueError, match="it does not know"):
        trust.check(model, walk)


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("EPOCH", datetime(1970, 1, 1, 0, 1, tzinfo=timezone.utc)),
        ("_END_OF_TIME", datetime(9997, 12, 31, 23, 59, tzinfo=timezone.utc)),
    ],
)
def test_a_validator_that_refuses_more_is_noticed(
    name: str, limit: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, name, limit)
    with pytest.raises(ValueError, match="Event refuses lines that it accepts"):
        trust.check(Event, library.load())


def test_with_a_model_that_is_not_known_lines_go_to_the_model(
    caplog: pytest.LogCaptureFixture, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trust, "Event", _FewerWords)
    assert "nr_words" in _lines_by_model(caplog)


def test_the_fields_of_a_series_are_those_to_group_by() -> None:
    assert sorted(kernel.SERIES_FIELDS) == sorted(events.GROUP_FIELDS)
