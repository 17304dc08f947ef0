"""The example of the challenge, and lines and events made by hand."""

import json
import re
from decimal import Decimal
from typing import Any

import pytest
from copies import CHECKOUT

CHALLENGE_EVENTS = (
    b'{"timestamp": "2018-12-26 18:11:08.509654","translation_id": "5aa5b2f39f7254a75aa5",'
    b'"source_language": "en","target_language": "fr","client_name": "airliberty",'
    b'"event_name": "translation_delivered","nr_words": 30, "duration": 20}\n'
    b'{"timestamp": "2018-12-26 18:15:19.903159","translation_id": "5aa5b2f39f7254a75aa4",'
    b'"source_language": "en","target_language": "fr","client_name": "airliberty",'
    b'"event_name": "translation_delivered","nr_words": 30, "duration": 31}\n'
    b'{"timestamp": "2018-12-26 18:23:19.903159","translation_id": "5aa5b2f39f7254a75bb3",'
    b'"source_language": "en","target_language": "fr","client_name": "taxi-eats",'
    b'"event_name": "translation_delivered","nr_words": 100, "duration": 54}\n'
)
CHALLENGE_ROWS = b"""\
{"date": "2018-12-26 18:11:00", "average_delivery_time": 0}
{"date": "2018-12-26 18:12:00", "average_delivery_time": 20}
{"date": "2018-12-26 18:13:00", "average_delivery_time": 20}
{"date": "2018-12-26 18:14:00", "average_delivery_time": 20}
{"date": "2018-12-26 18:15:00", "average_delivery_time": 20}
{"date": "2018-12-26 18:16:00", "average_delivery_time": 25.5}
{"date": "2018-12-26 18:17:00", "average_delivery_time": 25.5}
{"date": "2018-12-26 18:18:00", "average_delivery_time": 25.5}
{"date": "2018-12-26 18:19:00", "average_delivery_time": 25.5}
{"date": "2018-12-26 18:20:00", "average_delivery_time": 25.5}
{"date": "2018-12-26 18:21:00", "average_delivery_time": 25.5}
{"date": "2018-12-26 18:22:00", "average_delivery_time": 31}
{"date": "2018-12-26 18:23:00", "average_delivery_time": 31}
{"date": "2018-12-26 18:24:00", "average_delivery_time": 42.5}
"""
CHALLENGE_DRAIN = b"""\
{"date": "2018-12-26 18:25:00", "average_delivery_time": 42.5}
{"date": "2018-12-26 18:26:00", "average_delivery_time": 54}
{"date": "2018-12-26 18:27:00", "average_delivery_time": 54}
{"date": "2018-12-26 18:28:00", "average_delivery_time": 54}
{"date": "2018-12-26 18:29:00", "average_delivery_time": 54}
{"date": "2018-12-26 18:30:00", "average_delivery_time": 54}
{"date": "2018-12-26 18:31:00", "average_delivery_time": 54}
{"date": "2018-12-26 18:32:00", "average_delivery_time": 54}
{"date": "2018-12-26 18:33:00", "average_delivery_time": 54}
"""

# Each field of a valid event as it is written in JSON.
VALID = {
    "timestamp": '"2018-12-26 18:11:08.509654"',
    "translation_id": '"5aa5b2f39f7254a75aa5"',
    "source_language": '"en"',
    "target_language": '"fr"',
    "client_name": '"airliberty"',
    "event_name": '"translation_delivered"',
    "nr_words": "30",
    "duration": "20",
}


def line(*extra: str, **changes: str | None) -> bytes:
    """One event as JSON; a change of None leaves the field out, `extra` is put at the end."""
    fields = {**VALID, **changes}
    members = [f'"{key}": {value}' for key, value in fields.items() if value is not None]
    return ("{" + ", ".join([*members, *extra]) + "}").encode()


def events(*times_and_durations: tuple[str, float | str], **fields: str) -> bytes:
    """One line per event of 2018-12-26, given as time of day and duration."""
    quoted = {field: json.dumps(value, ensure_ascii=False) for field, value in fields.items()}
    return b"".join(
        line(timestamp=f'"2018-12-26 {time}"', duration=str(duration), **quoted) + b"\n"
        for time, duration in times_and_durations
    )


CHALLENGE_CASES = "../shared/corpus/challenge_cases.json"


def challenge_cases() -> list[Any]:
    """The cases that public solutions of the challenge ship; one skipped case without them."""
    path = CHECKOUT / CHALLENGE_CASES
    if not path.exists():
        reason = f"there is no {CHALLENGE_CASES} (from the repository's root)"
        return [pytest.param({}, id="none", marks=pytest.mark.skip(reason=reason))]
    return [
        pytest.param(case, id=re.sub(r"[^\w.]+", "-", f"{case['source']} {case['window_size']}"))
        for case in json.loads(path.read_text("utf-8"), parse_float=Decimal)
    ]
