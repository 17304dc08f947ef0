"""The flex templates, made from the options of the command: this file, run, writes them.

For batch and for streaming each: the container spec, which is what the service launches, once the
image has its name in it; and the metadata alone, which `gcloud dataflow flex-template build` takes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipeline.cli.options import OPTIONS
from pipeline.core.options import Option
from pipeline.sources.pubsub import PubSubMessages
from pipeline.sources.whole_files import WholeFiles

FOLDER = Path(__file__).parent

# What stands in the specs for the name of the image.
IMAGE = "IMAGE"

_BUCKET_PATH = r"^gs:\/\/[^\n\r]+$"
_FILE_PATH = r"^gs:\/\/[^\n\r\/]+\/[^\n\r]*[^\n\r\/]$"
_FOLDER_PATH = r"^gs:\/\/[^\n\r]+\/$"
_SUBSCRIPTION = r"^projects\/[^\n\r\/]+\/subscriptions\/[^\n\r\/]+$"
_TOPIC = r"^projects\/[^\n\r\/]+\/topics\/[^\n\r\/]+$"
_NUMBER = r"^[0-9]+$"

# What the console asks for, and how it checks it; what it says is the option's own help.
_LABELS: dict[str, tuple[str, str, str | None]] = {
    "input_file": ("Log files", "GCS_READ_FILE", _BUCKET_PATH),
    "input_subscription": ("Subscription to the events", "PUBSUB_SUBSCRIPTION", _SUBSCRIPTION),
    "window_size": ("Window in minutes, or several", "TEXT", r"^[0-9]+(,[0-9]+){0,7}$"),
    "measures": ("What rows say", "TEXT", None),
    "output_file": ("File of the rows", "GCS_WRITE_FILE", _FILE_PATH),
    "output_topic": ("Topic of the rows", "PUBSUB_TOPIC", _TOPIC),
    "rejected_file": ("File of the dead letters", "GCS_WRITE_FILE", _FILE_PATH),
    "rejected_topic": ("Topic of the dead letters", "PUBSUB_TOPIC", _TOPIC),
    "late_topic": ("Topic of late events", "PUBSUB_TOPIC", _TOPIC),
    "max_rejected": ("Rejected lines that are allowed", "TEXT", None),
    "group_by": ("Fields of the series", "TEXT", None),
    "where": ("Only events with this field and value", "TEXT", None),
    "event_name": ("Name of the events", "TEXT", None),
    "until": ("Where a series ends", "ENUM", None),
    "empty_value": ("Value of an empty window", "ENUM", None),
    "decimals": ("Decimal places", "NUMBER", _NUMBER),
    "max_gap_minutes": ("Longest silence that is filled, in minutes", "NUMBER", _NUMBER),
    "rows_from": ("First date of the rows", "TEXT", None),
    "rows_before": ("End of the dates of the rows", "TEXT", None),
    "output_format": ("Format of the rows", "ENUM", None),
    "max_rows": ("Most rows", "NUMBER", _NUMBER),
    "num_shards": ("Number of output files", "NUMBER", _NUMBER),
    "chunk_size": ("Lines at a time", "NUMBER", _NUMBER),
    "plan": ("Plan", "ENUM", None),
    "timestamp_attribute": ("Attribute that moves the watermark", "TEXT", None),
    "id_label": ("Attribute that identifies a message", "TEXT", None),
    "allowed_lateness_seconds": ("Allowed lateness in seconds", "NUMBER", _NUMBER),
    "max_future_seconds": ("How far clocks may be ahead, in seconds", "NUMBER", _NUMBER),
    "emit": ("When rows are written", "ENUM", None),
}

# Of the process that launches: no template has them.
LEFT_OUT = {"input_topic", "summary_file", "detach", "verbose", "debug"}

_KINDS = {"batch": WholeFiles.AS_JOB, "streaming": PubSubMessages.AS_JOB}
_REQUIRED = {"input_file", "input_subscription", "window_size"}

# Beam's own option, without which workers would start in an image that has no package in it.
_WORKER_IMAGE = {
    "name": "sdk_container_image",
    "label": "Image of the workers",
    "helpText": "The image of this template: it launches the job, and its workers run in it",
    "isOptional": False,
    "paramType": "TEXT",
    "regexes": [r"^\S+$"],
}

# Where the help of the option is about this machine.
_HELP = {
    ("batch", "input_file"): "the log: a path, a glob, or several separated by commas; .gz, .bz2 "
    "and .zst are uncompressed",
    ("batch", "output_file"): "where the rows go",
    ("streaming", "output_file"): "a folder that gets a file for each hour of event time; or name "
    "a topic",
}

_TEMPLATES: dict[str, dict[str, Any]] = {
    "batch": {
        "name": "Mean delivery times of log files",
        "description": "For every minute, the mean duration of the translations delivered in "
        "the minutes before it, and other measures: files to a file.",
    },
    "streaming": {
        "name": "Mean delivery times as they come",
        "description": "For every minute, the mean duration of the translations delivered in "
        "the minutes before it, and other measures: Pub/Sub to Pub/Sub or to files by the "
        "hour.",
        "streaming": True,
        # With messages at least once a delivery would count twice.
        "supportsExactlyOnce": True,
        "supportsAtLeastOnce": False,
    },
}


def metadata(mode: str) -> dict[str, Any]:
    """What the service knows of a template, `batch` or `streaming`.

    Raises:
        ValueError: an option has no label, or a label no option.
    """
    for_jobs = {
        name: option
        for name, option in OPTIONS.items()
        if any(option.used_by.includes(kind) for kind in _KINDS.values())
    }
    if unlabelled := for_jobs.keys() ^ (_LABELS.keys() | LEFT_OUT):
        raise ValueError(f"options and labels differ: {', '.join(sorted(unlabelled))}")
    parameters = [
        _parameter(mode, option)
        for name, option in for_jobs.items()
        if option.used_by.includes(_KINDS[mode]) and name not in LEFT_OUT
    ]
    return {**_TEMPLATES[mode], "parameters": [_WORKER_IMAGE, *parameters]}


def container_spec(mode: str) -> dict[str, Any]:
    """What the service launches, with the name of the image still to be put in."""
    return {
        "image": IMAGE,
        "sdkInfo": {"language": "PYTHON"},
        "metadata": metadata(mode),
    }


def _parameter(mode: str, option: Option) -> dict[str, Any]:
    label, kind, regex = _LABELS[option.name]
    is_required = option.name in _REQUIRED or (mode, option.name) == ("batch", "output_file")
    text = _HELP.get((mode, option.name), option.help).replace("`", "")
    parameter: dict[str, Any] = {
        "name": option.name,
        "label": label,
        "helpText": text[:1].upper() + text[1:],
        "isOptional": not is_required,
        "paramType": kind,
    }
    if (mode, option.name) == ("streaming", "output_file"):
        parameter |= {"label": "Folder of the rows", "paramType": "GCS_WRITE_FOLDER"}
        regex = _FOLDER_PATH
    if regex is not None:
        parameter["regexes"] = [regex]
    if option.choices:
        parameter["enumOptions"] = [{"value": each, "label": each} for each in option.choices]
    if option.default is not None:
        parameter["defaultValue"] = option.default
    return parameter


def files() -> dict[Path, str]:
    """All that is written, by path."""
    made: dict[Path, Any] = {}
    for mode in _TEMPLATES:
        made[FOLDER / f"{mode}-metadata.json"] = metadata(mode)
        made[FOLDER / f"{mode}-spec.json"] = container_spec(mode)
    return {path: json.dumps(each, indent=2) + "\n" for path, each in made.items()}


if __name__ == "__main__":
    for _path, _text in files().items():
        _path.write_text(_text)
