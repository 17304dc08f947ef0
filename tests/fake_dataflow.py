"""A stand-in on loopback for the service that Dataflow jobs are given to: it keeps what it gets."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from google.cloud.dataflow_v1beta3 import Job
from google.protobuf import json_format


@dataclass
class FakeDataflow:
    """A service with some running jobs: what it was asked for, and the jobs that it was given.

    It knows one project and one region.

    Attributes:
        running: the names of jobs that run already.
        draining: the names of those that are being drained.
        queued: the names of those that wait.
        state: the one in which each job that it is given is found.
        error: what is told of that, if anything.
        counters: what each job has counted, by the class of the transform and the name.
        distributions: the values that it has told, likewise.
        refused: what it may not be asked for: paths below that of all jobs.
    """

    running: Sequence[str] = ()
    draining: Sequence[str] = ()
    queued: Sequence[str] = ()
    state: str = "JOB_STATE_DONE"
    error: str | None = None
    counters: Mapping[type, Mapping[str, int]] = field(default_factory=dict)
    distributions: Mapping[type, Mapping[str, Sequence[int]]] = field(default_factory=dict)
    refused: Sequence[str] = ()
    endpoint: str = ""
    requests: list[tuple[str, str]] = field(default_factory=list)
    jobs: list[dict[str, Any]] = field(default_factory=list)

    def options(self, folder: Path) -> list[str]:
        """Options that submit to it, and stage files in new folders of this machine."""
        # Beam does not make them, and tries again and again.
        staging, temp = folder / "staging", folder / "temp"
        staging.mkdir()
        temp.mkdir()
        return [
            *(f"--dataflow_endpoint={self.endpoint}", "--no_auth"),
            *(f"--staging_location={staging}", f"--temp_location={temp}"),
        ]


def _refusal(status: int, reason: str) -> tuple[dict[str, Any], int]:
    return {"error": {"code": status, "message": reason}}, status


_JOBS = "/v1b3/projects/my-project/locations/europe-west1/jobs"
_NOTHING_HERE = _refusal(404, "there is nothing here")


@contextmanager
def serving(service: FakeDataflow) -> Iterator[FakeDataflow]:
    """Serves; every job that it is given is in its last state at once."""

    class _Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            if self._below_jobs() != "":
                self._answer(*_NOTHING_HERE)
                return
            job = job_of(self.rfile.read(int(self.headers["content-length"])))
            service.jobs.append(job)
            self._answer({**job, "id": "job-1", "currentState": "JOB_STATE_PENDING"})

        def do_GET(self) -> None:
            path = self._below_jobs()
            if path in service.refused:
                self._answer(*_refusal(403, "you may not see this"))
            elif path == "":
                running = [_job(name, "JOB_STATE_RUNNING") for name in service.running]
                draining = [_job(name, "JOB_STATE_DRAINING") for name in service.draining]
                queued = [_job(name, "JOB_STATE_QUEUED") for name in service.queued]
                self._answer({"jobs": running + draining + queued})
            elif path == "/job-1/messages":
                self._answer({"jobMessages": _messages(service.error)})
            elif path == "/job-1/metrics":
                counters = _metrics(service.counters, "scalar", lambda count: count)
                values = _metrics(service.distributions, "distribution", _distribution)
                self._answer({"metrics": [*counters, *values]})
            elif path == "/job-1":
                self._answer({"id": "job-1", "currentState": service.state})
            else:
                self._answer(*_NOTHING_HERE)

        def do_PUT(self) -> None:
            self._answer({"id": "job-1", "currentState": "JOB_STATE_CANCELLED"})

        def _below_jobs(self) -> str:
            """What is asked for: a path below that of all jobs, if it is."""
            return self.path.partition("?")[0].removeprefix(_JOBS)

        def _answer(self, answer: dict[str, Any], status: int = 200) -> None:
            service.requests.append((self.command, self.path))
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        service.endpoint = f"http://localhost:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield service
        server.shutdown()


def job_of(text: bytes) -> dict[str, Any]:
    """A job, with its enumerations as names; refused if it is not what Google's message has."""
    job: dict[str, Any] = json_format.MessageToDict(json_format.Parse(text, Job()._pb))
    return job


def _messages(error: str | None) -> list[dict[str, str]]:
    if error is None:
        return []
    about = {"time": "2026-11-23T00:00:00Z", "messageImportance": "JOB_MESSAGE_ERROR"}
    return [{"id": "message-1", "messageText": error, **about}]


def _metrics(
    metrics: Mapping[type, Mapping[str, Any]], kind: str, shown: Callable[[Any], Any]
) -> Iterator[dict[str, Any]]:
    for transform, values in metrics.items():
        namespace = f"{transform.__module__}.{transform.__name__}"
        for name, value in values.items():
            for tentative in ({}, {"tentative": "true"}):
                context = {"namespace": namespace, "step": "s1", **tentative}
                about = {"origin": "user", "name": name, "context": context}
                yield {"name": about, kind: shown(value)}


def _distribution(values: Sequence[int]) -> dict[str, int]:
    return {"count": len(values), "sum": sum(values), "min": min(values), "max": max(values)}


def _job(name: str, state: str) -> dict[str, str]:
    return {"id": f"id-of-{name}", "name": name, "currentState": state}
