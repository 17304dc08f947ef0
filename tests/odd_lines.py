"""Lines of JSON for the tests of the kernel: samples of all layouts, and mutations of them."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from itertools import product

PLAIN = (
    b'{"timestamp": "2018-12-26 18:11:08.509654","translation_id": "5aa5b2f39f7254a75aa5",'
    b'"source_language": "en","target_language": "fr","client_name": "airliberty",'
    b'"event_name": "translation_delivered","nr_words": 30, "duration": 20}'
)
SAMPLES = [
    PLAIN,
    PLAIN.replace(b": ", b":").replace(b", ", b","),
    PLAIN.replace(b"08.509654", b"08.509654Z").replace(b"26 18", b"26T18"),
    PLAIN.replace(b"08.509654", b"08+02:30"),
    PLAIN.replace(b":08.509654", b"-11:45"),
    PLAIN.replace(
        b": 20}",
        b': 20.25, "region": "eu", "retries": 3,'
        b' "meta": {"tags": ["a", "b"], "score": -1.5e3, "ok": true}}',
    ),
    b'{"duration":0.125,"client_name":"Soci\xc3\xa9t\xc3\xa9 \xe6\x9d\xb1","nr_words":0,'
    b'"event_name":"translation_delivered","timestamp":"1970-01-01T00:00:00.000Z",'
    b'"translation_id":"","source_language":"pt-br","target_language":"x"}',
    b' { "duration" : 1e3 , "x" : [1, 2.5, [{"timestamp": "a", "y": 3}]], "nr_words" : 7 ,'
    b' "client_name" : "a" , "event_name" : "translation_delivered" , "translation_id" : "1" ,'
    b' "source_language" : "b" , "target_language" : "c" , "timestamp" : "2020-02-29 23:59" } ',
    PLAIN.replace(b"{", b'{"a":1,', 1),
]
# fmt: off
TOKENS = [
    b'"', b"\\", b",", b":", b"{", b"}", b"[", b"]", b" ", b"\t", b"\r", b"\x00", b"\x01",
    b"\x1f", b"\x7f", b"\x80", b"\xff", b"\xc3\xa9", b"\xc0\x80", b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80", b"\xe2\x80", b"0", b"00", b"9", b"-", b"+", b".", b"e", b"E5", b"e400",
    b"e-400", b"_", b"t", b"T", b"Z", b"z", b"null", b"true", b"NaN", b"Infinity", b"1.", b".5",
    b"+1", b"-0", b"-0.0", b"-1", b"020", b"30.0", b"1e2", b"1e9", b"1000000001", b"1000000000",
    b"1000000000.0000001", b"99999999", b"123456789", b"0.1234567", b"0.0000005", b"0.0000015",
    b"2.5e-7", b"1" * 30, b"9" * 5000, b"1" * 64, b'"20"', b"24:00:00", b"23:59:60",
    b"2019-02-30", b"2019-02-29", b"2020-02-29", b"0000-01-01", b"1969-12-31", b"9998-01-01",
    b"9997-12-31", b"1970-01-01", b"00:00:00", b"23:59:59.999999", b"+00:00", b"-00:00",
    b"+24:00", b"+23:59", b"-23:59", b"-01:00", b"+0100", b" UTC", b"12:60", b"-13-", b"-00-",
    b'"duration": 1, ', b'"duration": "x", ', b'"nr_words": 1, ', b'"client_name": "b", ',
    b'"event_name": "other", ', b'"event_name": "translation_delivered", ',
    b'"timestamp": "2018-01-01 00:00:00", ', b'"extra": 1, ', b'"extra": {"duration": 5}, ',
    b", ,", b"//", b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"\\u0041", b'\\"', b"x" * 70, b"x" * 1200,
]
# fmt: on
# fmt: off
_PIECES = [
    b"timestamp", b"duration", b"nr_words", b"client_name", b"translation_delivered",
    b"2018-12-26", b"18:11:08.509654", b"18:11", b": 20", b":30", b" 30", b"20", b"en", b"fr",
    b"airliberty", b"0.125", b"1e3", b"20.25", b"1970-01-01", b"00:00:00.000", b"+02:30",
    b"2020-02-29", b"23:59",
]
# fmt: on


def mutated(rng: random.Random, line: bytes) -> bytes:
    """The line with some of its bytes removed, repeated, replaced or moved."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        at = rng.randrange(len(line) + 1)
        to = min(len(line), at + rng.choice((1, 1, 2, 4, 8, 20)))
        what = rng.randrange(9)
        if what == 0:
            line = line[:at] + line[to:]
        elif what == 1:
            line = line[:at] + bytes([rng.randrange(256)]) + line[at:]
        elif what == 2 and at < len(line):
            line = line[:at] + bytes([rng.randrange(256)]) + line[at + 1 :]
        elif what == 3:
            line = line[:to] + line[at:to] + line[to:]
        elif what == 4:
            line = line[:at] + rng.choice(TOKENS) + line[at:]
        elif what == 5 and at < len(line) and line[at : at + 1].isdigit():
            line = line[:at] + b"%d" % rng.randrange(10) + line[at + 1 :]
        elif what in (6, 7):
            piece = rng.choice(_PIECES)
            line = line.replace(
                piece,
                rng.choice(TOKENS) if what == 6 else rng.choice(_PIECES),
                rng.choice((1, -1)),
            )
        else:
            parts = line.split(b",")
            i, j = rng.randrange(len(parts)), rng.randrange(len(parts))
            parts[i], parts[j] = parts[j], parts[i]
            line = b",".join(parts)
        line = line or b" "
    return line.replace(b"\n", b"")


# ---------------------------------------------------------------------------------------------
# All texts of a kind, up to some length


def strings() -> Iterator[bytes]:
    """What may stand in a string, around every limit: escapes, surrogates and UTF-8."""
    codes = (0, 0x7F, 0xD7FF, 0xD800, 0xDBFF, 0xDC00, 0xDFFF, 0xE000, 0xFFFF)
    escapes = [f"\\u{code:04x}".encode() for code in codes]
    yield from escapes
    yield from (one + other for one in escapes for other in escapes)
    yield from (one + b"x" + other[1:] for one in escapes for other in escapes)
    yield from (one + b"\\" + letter + other[2:] for one in escapes for letter in (b"n", b"U")
                for other in escapes)  # fmt: skip
    for byte in {*range(256)} - {ord("\n")}:
        yield bytes([byte])
        yield b"\\" + bytes([byte]) + b"0041"
        for place in range(4):
            digits = bytearray(b"00aF")
            digits[place] = byte
            yield b"\\u" + digits
            yield b"\\ud83d\\u" + b"de00"[:place] + bytes([byte]) + b"de00"[place + 1 :]
    seconds = (0x22, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0)
    rests = (b"", b"\x7f", b"\x80", b"\xbf", b"\xc0", b"\x80\x7f", b"\x80\x80", b"\xbf\xc0")
    for lead in range(0x80, 0x100):
        yield from (bytes([lead, second]) + rest for second in seconds for rest in rests)
    for size in (30, 31, 32, 33, 63, 64, 65):
        yield from (b"x" * size + each for each in (b"", b"\xc3\xa9", b"\\n", b"\x1f", b"\\"))


def numbers() -> Iterator[bytes]:
    """All texts of up to five characters of numbers, and longer ones around every limit."""
    for size in range(1, 6):
        yield from map(b"".join, product((b"0", b"1", b"-", b".", b"e", b"+"), repeat=size))
    yield from (b"1%s%d" % (e, power) for e in (b"e", b"E-", b"e+") for power in range(25))
    for size in (17, 18, 19, 20, 300, 4000, 4001, 4300, 4301):
        yield from (b"9" * size, b"0." + b"0" * (size - 1) + b"1", b"1" + b"0" * size)
    yield from (b"1e0000", b"1e00000", b"1e9999", b"1e-9999", b"1e99999", b"1e-99999")
    for text in ("1000000000", "999999999.9999995", "1000000000.0000001", "0.0000005", "0.0000015"):
        yield from (text.encode(), text.encode() + b"1", text.encode()[:-1] + b"4")


def timestamps() -> Iterator[bytes]:
    """Timestamps of all forms in quotes, with every byte in place of each of theirs."""
    forms = (
        *(b'"2018-12-26 18:11:08.509654"', b'"2018-12-26T18:11Z"', b'"2018-12-26t18:11:08+02:30"'),
        *(b'"2018-12-26_18:11-1145"', b'"1970-01-01 00:00"', b'"9997-12-31 23:59:59,5z"'),
    )
    for form in forms:
        for place in range(len(form)):
            for byte in {*range(256)} - {ord("\n")}:
                yield form[:place] + bytes([byte]) + form[place + 1 :]
            yield form[:place] + form[place + 1 :]


def values() -> Iterator[bytes]:
    """All texts of up to five tokens of JSON, and deep ones."""
    tokens = (b"{", b"}", b"[", b"]", b",", b":", b'"a"', b" 1 ")
    for size in range(1, 6):
        yield from map(b"".join, product(tokens, repeat=size))
    for word in (b"true", b"false", b"null"):
        yield from (word[:size] for size in range(1, len(word) + 1))
        yield from (word[:-1] + b"x", word + b"e", word.upper())
    for depth in (59, 60, 61, 199, 200, 201):
        yield b"[" * depth + b"]" * depth
        yield b'{"a":' * depth + b"1" + b"}" * depth
    yield b'[{"a":' * 30 + b"1" + b"}]" * 30
    yield b'[{"a":' * 30 + b"1" + b"]}" * 30


def objects() -> Iterator[bytes]:
    """Whole lines of up to four tokens in braces, and their names one by one."""
    tokens = (b'"event_name":"a"', b'"x":1', b",", b" ", b"}", b'"x"', b":1")
    for size in range(5):
        for inside in map(b"".join, product(tokens, repeat=size)):
            yield b"{" + inside + b"}"
            yield inside
    for name in NAMES:
        quoted = b'"%s"' % name
        for other in (name[:-1], name + b"x", name[:-1] + b"X", b"X" + name[1:], b"\\u0061"):
            yield PLAIN.replace(quoted, b'"%s"' % other)
        yield PLAIN.replace(quoted, b'"\\u%04x%s"' % (name[0], name[1:]))
        yield from (PLAIN.replace(quoted, each) for each in (name, quoted[1:], quoted[:-1]))
        yield PLAIN.replace(b"{", b'{"%s": "other", ' % name)
        yield PLAIN.replace(b": 20}", b': 20, "%s": 1}' % name)
        for value in (b"null", b"1", b'"1"', b"true", b"[]", b"{}", b'""'):
            yield re.sub(quoted + rb': ?("[^"]*"|\d+)', quoted + b":" + value, PLAIN)


NAMES = (
    *(b"timestamp", b"translation_id", b"source_language", b"target_language", b"client_name"),
    *(b"event_name", b"nr_words", b"duration"),
)
