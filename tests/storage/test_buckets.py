"""s3:// and gs:// through Beam's own filesystems."""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from apache_beam.io.filesystems import FileSystems
from copies import CHECKOUT
from examples import CHALLENGE_EVENTS, CHALLENGE_ROWS, line

from pipeline.cli.run import run
from pipeline.formats.ndjson import Ndjson

pytestmark = pytest.mark.slow

_LINES = CHALLENGE_EVENTS.splitlines(keepends=True)
_OLD = b"the result of an earlier run\n"


class _Bucket:
    """A bucket of its own for each test, and the options with which Beam reaches it."""

    def __init__(self, endpoint: str) -> None:
        boto3 = pytest.importorskip("boto3", reason="the extra aws is not installed")
        self.name = f"bucket-{uuid4().hex}"
        self.options = [
            f"--s3_endpoint_url={endpoint}",
            "--s3_access_key_id=key",
            "--s3_secret_access_key=secret",
            "--s3_region_name=us-east-1",
        ]
        self._client: Any = boto3.client(
            "s3",
            endpoint_url=endpoint,
            aws_access_key_id="key",
            aws_secret_access_key="secret",
            region_name="us-east-1",
        )
        self._client.create_bucket(Bucket=self.name)

    def url(self, key: str) -> str:
        return f"s3://{self.name}/{key}"

    def put(self, **objects: bytes) -> None:
        for key, content in objects.items():
            self._client.put_object(Bucket=self.name, Key=key, Body=content)

    def objects(self) -> dict[str, bytes]:
        """What the bucket holds."""
        listed = self._client.list_objects_v2(Bucket=self.name).get("Contents", [])
        keys = [each["Key"] for each in listed]
        return {
            key: self._client.get_object(Bucket=self.name, Key=key)["Body"].read() for key in keys
        }


@pytest.fixture
def bucket(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> _Bucket:
    """A bucket that Beam's filesystems have not been told of yet, as in a new process."""
    monkeypatch.setattr(FileSystems, "_pipeline_options", None)
    return _Bucket(s3_endpoint)


def _run(bucket: _Bucket, *arguments: str) -> int:
    return run([*bucket.options, "--window_size=10", *arguments])


# ---------------------------------------------------------------------------------------------
# s3://


def test_rows_of_all_objects_of_a_pattern_are_written_to_an_object(bucket: _Bucket) -> None:
    bucket.put(
        **{
            "log/1.json": _LINES[0],
            "log/2.json.gz": gzip.compress(_LINES[1] + b"no event\n"),
            "log/3.json": _LINES[2],
            "log/4.txt": b"not asked for",
            "rows.json": _OLD,
        }
    )
    before = bucket.objects()
    code = _run(
        bucket,
        f"--input_file={bucket.url('log/*.json*')}",
        f"--output_file={bucket.url('rows.json')}",
        f"--rejected_file={bucket.url('rejected.json')}",
        f"--summary_file={bucket.url('summary.json')}",
    )
    assert code == 0
    after = bucket.objects()
    assert after.pop("rows.json") == CHALLENGE_ROWS
    assert json.loads(after.pop("summary.json"))["lines"] == 4
    letter = json.loads(after.pop("rejected.json"))
    assert (letter["source"], letter["offset"]) == (bucket.url("log/2.json.gz"), len(_LINES[1]))
    # Nothing temporary is left.
    assert after == {key: content for key, content in before.items() if key != "rows.json"}


def test_an_object_named_like_a_pattern_is_itself(bucket: _Bucket, tmp_path: Path) -> None:
    bucket.put(**{"events.json": CHALLENGE_EVENTS})
    output = tmp_path / "rows.json"
    assert _run(bucket, f"--input_file={bucket.url('events.json')}", f"--output_file={output}") == 0
    assert output.read_bytes() == CHALLENGE_ROWS


def test_rows_are_written_to_several_objects_and_those_of_an_earlier_run_removed(
    bucket: _Bucket, tmp_path: Path
) -> None:
    (tmp_path / "events.json").write_bytes(CHALLENGE_EVENTS)
    bucket.put(**{"rows-00003-of-00004": _OLD, "other-00000-of-00001": _OLD})
    code = _run(
        bucket,
        f"--input_file={tmp_path / 'events.json'}",
        f"--output_file={bucket.url('rows')}",
        "--num_shards=2",
    )
    assert code == 0
    written = bucket.objects()
    assert written.pop("other-00000-of-00001") == _OLD
    assert sorted(written) == ["rows-00000-of-00002", "rows-00001-of-00002"]
    assert sorted(b"".join(written.values()).splitlines()) == CHALLENGE_ROWS.splitlines()


def test_without_rows_and_dead_letters_the_objects_are_empty(bucket: _Bucket) -> None:
    bucket.put(**{"events.json": b"\n", "rows.json": _OLD})
    code = _run(
        bucket,
        f"--input_file={bucket.url('events.json')}",
        f"--output_file={bucket.url('rows.json')}",
        f"--rejected_file={bucket.url('rejected.json')}",
    )
    assert code == 0
    assert bucket.objects() == {"events.json": b"\n", "rows.json": b"", "rejected.json": b""}


@pytest.mark.parametrize("old", [{}, {"rows.json": _OLD}])
def test_a_failing_run_leaves_the_old_object_and_no_half_one(
    bucket: _Bucket, monkeypatch: pytest.MonkeyPatch, old: dict[str, bytes]
) -> None:
    def fail(*_: object) -> bytes:
        raise OSError("the disk is on fire")

    monkeypatch.setattr(Ndjson, "_lines", fail)
    bucket.put(**{"events.json": CHALLENGE_EVENTS, **old})
    before = bucket.objects()
    code = _run(
        bucket,
        f"--input_file={bucket.url('events.json')}",
        f"--output_file={bucket.url('rows.json')}",
    )
    assert code == 2
    assert bucket.objects() == before


def test_more_rejected_lines_than_allowed_leave_the_old_object(bucket: _Bucket) -> None:
    bucket.put(**{"events.json": b"no event\n" + line(), "rows.json": _OLD})
    before = bucket.objects()
    code = _run(
        bucket,
        f"--input_file={bucket.url('events.json')}",
        f"--output_file={bucket.url('rows.json')}",
        "--max_rejected=0",
    )
    assert code == 3
    assert bucket.objects() == before


@pytest.mark.parametrize(
    ("key", "message"),
    [("none.json", "no such file"), ("log/*.json", "no file matches this pattern")],
)
def test_an_object_that_is_not_there_is_an_error_of_one_line(
    bucket: _Bucket, caplog: pytest.LogCaptureFixture, key: str, message: str
) -> None:
    assert _run(bucket, f"--input_file={bucket.url(key)}", "--output_file=unused") == 2
    assert [each.getMessage() for each in caplog.records] == [f"{bucket.url(key)}: {message}"]


def test_a_bucket_that_is_not_there_is_an_error_of_one_line(
    bucket: _Bucket, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    (tmp_path / "events.json").write_bytes(CHALLENGE_EVENTS)
    for arguments in (
        ["--input_file=s3://no-such-bucket/events.json", f"--output_file={tmp_path / 'rows.json'}"],
        [f"--input_file={tmp_path / 'events.json'}", "--output_file=s3://no-such-bucket/rows.json"],
    ):
        caplog.clear()
        assert _run(bucket, *arguments) == 2
        (message,) = [each.getMessage() for each in caplog.records]
        assert message.startswith("s3://no-such-bucket/")
        assert "\n" not in message


@pytest.mark.parametrize("pattern", ["log/events.json", "log/*.json"])
def test_an_output_that_is_an_input_is_refused(
    bucket: _Bucket, caplog: pytest.LogCaptureFixture, pattern: str
) -> None:
    bucket.put(**{"log/events.json": CHALLENGE_EVENTS})
    code = _run(
        bucket,
        f"--input_file={bucket.url(pattern)}",
        f"--output_file={bucket.url('log/events.json')}",
    )
    assert code == 2
    assert "is one of the inputs" in caplog.text
    assert bucket.objects() == {"log/events.json": CHALLENGE_EVENTS}


# ---------------------------------------------------------------------------------------------
# Without the extra


def _run_without(packages: list[str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the command in a process that cannot import some packages."""
    program = (
        f"import sys; sys.modules.update(dict.fromkeys({packages!r}))\n"
        "from pipeline.__main__ import main; main()"
    )
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
    )


_WITHOUT = [
    pytest.param("gs", "gcp", ["apache_beam.io.gcp.gcsfilesystem"], id="gs"),
    pytest.param("s3", "aws", ["boto3"], id="s3"),
]


@pytest.mark.parametrize(("scheme", "extra", "packages"), _WITHOUT)
def test_an_input_without_its_extra_fails_in_one_line_with_the_remedy(
    tmp_path: Path, scheme: str, extra: str, packages: list[str]
) -> None:
    output = tmp_path / "rows.json"
    done = _run_without(
        packages,
        "--window_size=10",
        f"--input_file={scheme}://bucket/events.json",
        f"--output_file={output}",
    )
    assert (done.returncode, done.stdout) == (2, "")
    (message,) = done.stderr.splitlines()
    assert f"{scheme}://bucket/events.json" in message
    assert f"pip install 'unbabel-cli[{extra}]'" in message
    assert not output.exists()


@pytest.mark.parametrize("option", ["output_file", "rejected_file", "summary_file"])
@pytest.mark.parametrize(("scheme", "extra", "packages"), _WITHOUT)
def test_an_output_without_its_extra_fails_in_one_line_with_the_remedy(
    tmp_path: Path, scheme: str, extra: str, packages: list[str], option: str
) -> None:
    (tmp_path / "events.json").write_bytes(CHALLENGE_EVENTS)
    done = _run_without(
        packages,
        "--window_size=10",
        f"--input_file={tmp_path / 'events.json'}",
        f"--{option}={scheme}://bucket/out.json",
    )
    assert (done.returncode, done.stdout) == (2, "")
    (message,) = done.stderr.splitlines()
    assert f"{scheme}://bucket/out.json" in message
    assert f"pip install 'unbabel-cli[{extra}]'" in message
