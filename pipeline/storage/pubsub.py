"""Google Cloud Pub/Sub from this process: names of resources, and errors of refused requests."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.core.errors import OptionError, RunError

REQUEST_SECONDS = 20


def subscription_name(text: str) -> str:
    """Checks `projects/PROJECT/subscriptions/NAME`.

    Raises:
        ValueError: the text has another form.
    """
    return _name(text, "subscriptions")


def topic_name(text: str) -> str:
    """Checks `projects/PROJECT/topics/NAME`.

    Raises:
        ValueError: the text has another form.
    """
    return _name(text, "topics")


def _name(text: str, kind: str) -> str:
    # Beam's own rule: it would raise when the pipeline is built.
    if not re.fullmatch(rf"projects/[a-z][-a-z0-9:.]{{4,61}}[a-z0-9]/{kind}/[^/\s]+", text):
        raise ValueError(f"takes projects/PROJECT/{kind}/NAME, not {text!r}")
    return text


def check_installed() -> None:
    """Raises OptionError where the client of Pub/Sub is not installed."""
    try:
        importlib.import_module("google.cloud.pubsub")
    except ImportError as error:
        raise OptionError("Pub/Sub needs the extra gcp: pip install 'unbabel-cli[gcp]'") from error


@contextmanager
def refused_as(kind: type[RunError], name: str) -> Iterator[None]:
    """Turns a refusal of Pub/Sub in the body into an error of a kind that names the resource."""
    from google.api_core.exceptions import GoogleAPICallError
    from google.auth.exceptions import GoogleAuthError

    try:
        yield
    except (GoogleAPICallError, GoogleAuthError) as error:
        first_line = (str(error).splitlines() or [""])[0]
        raise kind(f"{name}: {first_line}") from error
