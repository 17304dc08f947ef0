"""The fast parser of whole lines: one strict pass over their bytes, written to be compiled.

`walk` reads lines of JSON and sums up their events by series and minute. It accepts only what the
model (`pipeline.core.events.Event`) accepts, with the same values. A line that it is not sure of is
reported by its place, and the model judges it.

The module is plain Python on integers and imports nothing from the package:
`scripts/build_kernel.py` compiles it with numba, without which it gives the same results, slowly.
Compiled, an integer has 64 bits and no index is checked. Two rules keep the indices in bounds:

* Reading. The byte behind the last line is a line feed or a NUL. Neither is part of a token, so a
  position never passes it: every step forward is over bytes that were compared with something
  else. A function looks at most `WIDTH` bytes ahead of its position, and so many bytes may be read
  behind the last line.
* Writing. A row of `unsure`, `groups`, `cells` or `events` is written only after a look at
  `state[CAPACITY]`: the loop over the lines ends when one of them is full, and a line adds at most
  one row to each. A row of `layout` is limited by `LAYOUT_ROWS`, one of `found` by the number of
  fields.

A program writes its log in one layout: the text between two values (`, "client_name": `) is mostly
that of the line before. `layout` remembers where such a text was and which field it announced. Text
that is equal byte by byte means the same, so it is not parsed again: that halves the time.

The rules are those of RFC 8259, whose names the functions bear. Each takes the position of the
first byte of what it is named after, and returns the position behind it, or `UNSURE`.
"""

from __future__ import annotations

from collections.abc import MutableSequence, Sequence
from datetime import date

Bytes = Sequence[int]
Ints = MutableSequence[int]

# What the kernel knows of the model; `known_model` holds it against the model itself.
SERIES_FIELDS = ("client_name", "source_language", "target_language", "translation_id")
FIELDS = (*SERIES_FIELDS, "event_name", "timestamp", "nr_words", "duration")
EVENT_NAME, TIMESTAMP, NR_WORDS, DURATION, EXTRA = range(4, 9)  # the four before are of a series
EVERY_FIELD = (1 << EXTRA) - 1

# A group of lines is told by strings, whose fields are bits of a number, and by what it sums up.
BY_NAME = 1 << EVENT_NAME
OF_EVENTS = 1 << EXTRA

MINUTES_PER_DAY = 24 * 60
END_MINUTE = (date(9998, 1, 1) - date(1970, 1, 1)).days * MINUTES_PER_DAY
MAX_MILLIONTHS = 10**15  # a duration of 1e9

# What it takes at most; the model takes more.
MAX_DEPTH = 60
MAX_DIGITS = 4000
MAX_VALUE_DIGITS = 18
MAX_EXPONENT_DIGITS = 4

UNSURE = -1  # instead of a position or a value
NO_MINUTE = -(1 << 40)

# The layout of the arrays. `names` holds the keys, each padded, and then the event name asked for.
WIDTH = 32
KEY_BYTES = 16
NAME = KEY_BYTES * len(FIELDS)
(
    POSITION, STOP, CAPACITY, GROUP_BY, NAME_END,
    BLANK, UNSURE_LINES, GROUPS, CELLS, LAST_DATE, LAST_TIME, LAST_MINUTE,
    ARE_LISTED, EVENTS, FROM_MINUTE, TO_MINUTE, STATE_SIZE,
) = range(17)  # fmt: skip
TEXT_START, TEXT_SIZE, TEXT_FIELD, LAYOUT_SIZE = range(4)
LAYOUT_ROWS = 24
FOUND_SIZE = 2 * (EXTRA + 1)  # by field: start and end of a string, or a value
SECOND = 2 * TIMESTAMP + 1  # of `found`: behind the minute
GROUP_FIELDS, GROUP_LINES, GROUP_CELL, GROUP_LATEST, GROUP_STRINGS = range(5)
GROUP_SIZE = GROUP_STRINGS + 2 * (EVENT_NAME + 1)
CELL_GROUP, CELL_MINUTE, CELL_COUNT, CELL_HIGH, CELL_LOW, CELL_SIZE = range(6)
EVENT_CELL, EVENT_DURATION, EVENT_WORDS, EVENT_SIZE = range(4)
SLOTS_PER_ROW = 2  # of each of the two hash tables

TAB, LINE_FEED, RETURN, SPACE, QUOTE, PLUS, COMMA, MINUS, DOT, ZERO, NINE = b'\t\n\r "+,-.09'
COLON, BRACKET, BACKSLASH, BRACKET_END, UNDERSCORE, BRACE, BRACE_END = b":[\\]_{}"
LOWER_A, LOWER_E, LOWER_F, LOWER_T, LOWER_U, LOWER_Z = b"aeftuz"
ESCAPED = tuple(b'"\\/bfnrt')
LOWER_CASE = 32  # the bit that makes a letter a small one
TRUE, NULL, FALS = (int.from_bytes(each, "little") for each in (b"true", b"null", b"fals"))
LOW_32 = (1 << 32) - 1
LOW_63 = (1 << 63) - 1
MULTIPLIER = 0x1E3779B97F4A7C15


# -------------------------------------------------------------------------------------------------
# Steps that a processor takes at once: the compiler has instructions of its own for these


def word(text: Bytes, at: int) -> int:
    """Reads eight bytes as an integer, the first one lowest."""
    return int.from_bytes(bytes([text[at + i] for i in range(8)]), "little", signed=True)


def plain_size(text: Bytes, at: int) -> int:
    """Counts the bytes before the first quote, backslash, control character or non-ASCII byte."""
    for i in range(WIDTH):
        byte = text[at + i]
        if byte < SPACE or byte > 127 or byte in (QUOTE, BACKSLASH):
            return i
    return WIDTH


def digits_size(text: Bytes, at: int) -> int:
    """Counts the digits before the first byte that is none."""
    for i in range(WIDTH):
        if not ZERO <= text[at + i] <= NINE:
            return i
    return WIDTH


def equal_size(text: Bytes, at: int, other: Bytes, other_at: int) -> int:
    """Counts the bytes that are equal, before the first one that is not."""
    for i in range(WIDTH):
        if text[at + i] != other[other_at + i]:
            return i
    return WIDTH


PRIMITIVES = ("word", "plain_size", "digits_size", "equal_size")


# -------------------------------------------------------------------------------------------------
# Texts


def first_bytes(text: Bytes, at: int, size: int) -> int:
    """Reads a word of at most `size` bytes, padded with zeros."""
    return word(text, at) & ((1 << 8 * size) - 1) if size < 8 else word(text, at)


def are_equal(text: Bytes, at: int, end: int, other: Bytes, other_at: int, other_end: int) -> bool:
    """Compares two texts."""
    if end - at != other_end - other_at:
        return False
    while end - at > WIDTH and equal_size(text, at, other, other_at) == WIDTH:
        at += WIDTH
        other_at += WIDTH
    return equal_size(text, at, other, other_at) >= end - at


def ws(text: Bytes, at: int) -> int:
    """Skips white space within a line."""
    while text[at] <= SPACE and (text[at] == SPACE or text[at] == TAB or text[at] == RETURN):
        at += 1
    return at


# -------------------------------------------------------------------------------------------------
# Strings


def four_hex_digits(text: Bytes, at: int) -> int:
    """Returns the value of four hexadecimal digits."""
    value = 0
    for i in range(4):
        byte = text[at + i]
        if ZERO <= byte <= NINE:
            value = value * 16 + byte - ZERO
        elif LOWER_A <= byte | LOWER_CASE <= LOWER_F:
            value = value * 16 + (byte | LOWER_CASE) - LOWER_A + 10
        else:
            return UNSURE
    return value


def escape(text: Bytes, at: int) -> int:
    """A backslash and what it escapes; surrogates only in pairs."""
    byte = text[at + 1]
    if byte in ESCAPED:
        return at + 2
    if byte != LOWER_U:
        return UNSURE
    code = four_hex_digits(text, at + 2)
    if not 0xD800 <= code < 0xE000:
        return at + 6 if code >= 0 else UNSURE
    if code >= 0xDC00 or text[at + 6] != BACKSLASH or text[at + 7] != LOWER_U:
        return UNSURE
    return at + 12 if 0xDC00 <= four_hex_digits(text, at + 8) < 0xE000 else UNSURE


def utf8_character(text: Bytes, at: int) -> int:
    """A character beyond ASCII (RFC 3629, section 4)."""
    lead = text[at]
    if not 0xC2 <= lead <= 0xF4:
        return UNSURE
    size = 2 + (lead >= 0xE0) + (lead >= 0xF0)
    # Overlong forms, surrogates and what is beyond Unicode differ in their second byte.
    lowest = 0xA0 if lead == 0xE0 else 0x90 if lead == 0xF0 else 0x80
    highest = 0x9F if lead == 0xED else 0x8F if lead == 0xF4 else 0xBF
    if not lowest <= text[at + 1] <= highest:
        return UNSURE
    for i in range(2, size):
        if not 0x80 <= text[at + i] <= 0xBF:
            return UNSURE
    return at + size


def chars(text: Bytes, at: int) -> int:
    """The text of a string, up to the quote that ends it."""
    while True:
        size = plain_size(text, at)
        at += size
        if size < WIDTH:
            if text[at] == QUOTE:
                return at
            at = escape(text, at) if text[at] == BACKSLASH else utf8_character(text, at)
            if at < 0:
                return UNSURE


def string(text: Bytes, at: int) -> int:
    """A string, from quote to quote."""
    end = chars(text, at + 1)
    return end + 1 if end >= 0 else UNSURE


# -------------------------------------------------------------------------------------------------
# Numbers


def append_digits(text: Bytes, at: int, value: int) -> tuple[int, int]:
    """Digits; also returns their value behind the digits of another (any, beyond 18 digits)."""
    while ZERO <= text[at] <= NINE:
        value = (value * 10 + text[at] - ZERO) & LOW_63
        at += 1
    return at, value


def number(text: Bytes, at: int) -> tuple[int, int, int]:
    """A number; also returns its digits as an integer, and the power of ten that they count.

    The integer is `UNSURE` if the number is negative or has more than `MAX_VALUE_DIGITS`. The power
    is never positive without an exponent, and zero if and only if there is no fraction.
    """
    start = at + (text[at] == MINUS)
    end, value = append_digits(text, start, 0)
    size = end - start
    if size == 0 or (text[start] == ZERO and size > 1):
        return UNSURE, UNSURE, 0
    power = 0
    if text[end] == DOT:
        fraction = end + 1
        end, value = append_digits(text, fraction, value)
        power = fraction - end
        size -= power
        if power == 0:
            return UNSURE, UNSURE, 0
    if start > at or size > MAX_VALUE_DIGITS:
        value = UNSURE
    return end if size <= MAX_DIGITS else UNSURE, value, power


def exponent(text: Bytes, at: int) -> tuple[int, int]:
    """The exponent of a number, if there is one; also returns its value."""
    if text[at] | LOWER_CASE != LOWER_E:
        return at, 0
    sign = text[at + 1]
    start = at + 1 + (sign in (PLUS, MINUS))
    end, value = append_digits(text, start, 0)
    if not 1 <= end - start <= MAX_EXPONENT_DIGITS:
        return UNSURE, 0
    return end, -value if sign == MINUS else value


def millionths(value: int, power: int) -> int:
    """Returns `value * 10**power` in millionths, as the model rounds it.

    The model rounds the nearest double to the product of 10**6 and the nearest double. Each step is
    off by a part in 2**53 at most, and both together by less than (1 + `value >> 50`) halves of
    the last digit of `value`: so close to a tie the rounding is unsure. With up to 6 decimals there
    is no last digit to round away: the product, of at most 10**15, is off by less than a half.
    """
    power += 6
    if value < 0 or not -18 <= power <= 15:
        return UNSURE
    while power > 0:
        if value > MAX_MILLIONTHS:
            return UNSURE
        value *= 10
        power -= 1
    scale = 1
    while power < 0:
        scale *= 10
        power += 1
    whole, rest = value // scale, value % scale
    if whole >= MAX_MILLIONTHS and (whole > MAX_MILLIONTHS or rest > 0):
        return UNSURE
    if scale > 1 and abs(2 * rest - scale) <= value >> 50:
        return UNSURE
    return whole + (2 * rest > scale)


# -------------------------------------------------------------------------------------------------
# Timestamps


def two_digits(text: Bytes, at: int) -> int:
    """Returns the value of two digits; 100 if they are none."""
    tens, ones = text[at], text[at + 1]
    if ZERO <= tens <= NINE and ZERO <= ones <= NINE:
        return (tens - ZERO) * 10 + ones - ZERO
    return 100


def minute_of(text: Bytes, at: int) -> int:
    """Returns the minute of a text like `2018-12-26 18:11`, since 1970-01-01; else `NO_MINUTE`."""
    century, year_of_century = two_digits(text, at), two_digits(text, at + 2)
    month, day = two_digits(text, at + 5), two_digits(text, at + 8)
    mark, hour, minute = text[at + 10], two_digits(text, at + 11), two_digits(text, at + 14)
    year = century * 100 + year_of_century
    is_leap_year = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    last_day = 28 + is_leap_year if month == 2 else 30 + (month + month // 8) % 2
    if not (
        century < 100
        and year_of_century < 100
        and text[at + 4] == MINUS
        and 1 <= month <= 12
        and text[at + 7] == MINUS
        and 1 <= day <= last_day
        and (mark in (SPACE, UNDERSCORE) or mark | LOWER_CASE == LOWER_T)
        and hour <= 23
        and text[at + 13] == COLON
        and minute <= 59
    ):
        return NO_MINUTE
    # Years are counted from March, so that a leap day is the last day of one.
    if month <= 2:
        year, month = year - 1, month + 12
    days = year * 365 + year // 4 - year // 100 + year // 400 + (month * 153 - 457) // 5 + day
    return (days - DAYS_TO_1970) * MINUTES_PER_DAY + hour * 60 + minute


DAYS_TO_1970 = 719_469  # of the same count


def date_time(text: Bytes, at: int, state: Ints) -> tuple[int, int]:
    """The text of a timestamp, up to the quote that ends it; also returns its whole second.

    It is not valid outside the minutes that are asked for.
    """
    # Lines come about in the order of time: the minute is mostly that of the line before.
    first, second = word(text, at), word(text, at + 8)
    if first != state[LAST_DATE] or second != state[LAST_TIME]:
        state[LAST_DATE], state[LAST_TIME] = first, second
        state[LAST_MINUTE] = minute_of(text, at)
    minute = state[LAST_MINUTE]
    if minute == NO_MINUTE:
        return UNSURE, 0
    at += 16
    second = 0
    if text[at] == COLON and two_digits(text, at + 1) <= 59:
        second = two_digits(text, at + 1)
        at += 3
        if text[at] == DOT or text[at] == COMMA:
            size = digits_size(text, at + 1)
            at += 1 + size if size else 0
    zone = text[at]
    if zone | LOWER_CASE == LOWER_Z:
        at += 1
    elif zone in (PLUS, MINUS):
        hours, minutes_at = two_digits(text, at + 1), at + 3 + (text[at + 3] == COLON)
        minutes = two_digits(text, minutes_at)
        if hours > 23 or minutes > 59:
            return UNSURE, 0
        offset = hours * 60 + minutes
        minute -= offset if zone == PLUS else -offset
        at = minutes_at + 2
    is_asked_for = state[FROM_MINUTE] <= minute < state[TO_MINUTE]
    return at if text[at] == QUOTE and is_asked_for else UNSURE, minute * 60 + second


# -------------------------------------------------------------------------------------------------
# Values of any kind


def name(text: Bytes, at: int, names: Bytes) -> tuple[int, int]:
    """A name, the colon and white space around it; also returns the field, or `EXTRA`."""
    start, field = at + 1, EXTRA
    if text[at] != QUOTE:
        return UNSURE, EXTRA
    end = start
    # A name with an escape may be that of any field, and one beyond ASCII is rare.
    while plain_size(text, end) == WIDTH:
        end += WIDTH
    end += plain_size(text, end)
    if text[end] != QUOTE:
        return UNSURE, EXTRA
    if 8 <= end - start <= KEY_BYTES:
        first, second = word(text, start), first_bytes(text, start + 8, end - start - 8)
        for each in range(EXTRA):
            key = each * KEY_BYTES
            if first == word(names, key) and second == word(names, key + 8):
                field = each
    at = ws(text, end + 1)
    return ws(text, at + 1) if text[at] == COLON else UNSURE, field


def scalar(text: Bytes, at: int) -> int:
    """A string, a number, true, false or null."""
    byte = text[at]
    if byte == QUOTE:
        return string(text, at)
    if byte == MINUS or ZERO <= byte <= NINE:
        at, _, _ = number(text, at)
        if at >= 0:
            at, _ = exponent(text, at)
        return at
    letters = word(text, at) & LOW_32
    if letters in (TRUE, NULL):
        return at + 4
    return at + 5 if letters == FALS and text[at + 4] == LOWER_E else UNSURE


def value(text: Bytes, at: int, names: Bytes) -> int:
    """Any value, nested at most `MAX_DEPTH` deep."""
    depth = 0
    objects = 0  # a bit for each open object or array, the innermost one lowest: is it an object?
    while True:
        is_open = False
        byte = text[at]
        if byte in (BRACE, BRACKET):
            depth += 1
            objects = objects << 1 | (byte == BRACE)
            if depth > MAX_DEPTH:
                return UNSURE
            at = ws(text, at + 1)
            is_open = text[at] != (BRACE_END if byte == BRACE else BRACKET_END)
        else:
            at = scalar(text, at)
        # Behind a value, or in front of the end of an empty object or array.
        while depth > 0 and not is_open:
            if at < 0:
                return UNSURE
            at = ws(text, at)
            if text[at] == (BRACE_END if objects & 1 else BRACKET_END):
                at += 1
                depth -= 1
                objects >>= 1
            elif text[at] == COMMA:
                at = ws(text, at + 1)
                is_open = True
            else:
                return UNSURE
        if depth == 0:
            return at
        if objects & 1:
            at, _ = name(text, at, names)
            if at < 0:
                return UNSURE


# -------------------------------------------------------------------------------------------------
# The object of a line


def has_escape(text: Bytes, at: int, end: int) -> bool:
    """Whether a valid string holds a backslash."""
    while at < end:
        if text[at] == BACKSLASH:
            return True
        at += 1
    return False


def separator(
    text: Bytes, at: int, first: int, names: Bytes, layout: Ints, row: int
) -> tuple[int, int]:
    """The text between two values, from the byte `first` on; also returns the field it announces.

    `row` of `layout` is that of the same text in the line before.
    """
    size = layout[row + TEXT_SIZE]
    if size > 0 and equal_size(text, at, text, layout[row + TEXT_START]) >= size:
        return ws(text, at + size), layout[row + TEXT_FIELD]
    if text[at] != first:
        return UNSURE, EXTRA
    end, field = name(text, ws(text, at + 1), names)
    if 0 <= end <= at + WIDTH:
        layout[row + TEXT_START] = at
        layout[row + TEXT_SIZE] = end - at
        layout[row + TEXT_FIELD] = field
    return end, field


def field_value(
    text: Bytes, at: int, field: int, names: Bytes, state: Ints, found: Ints
) -> tuple[int, bool]:
    """The value of a field, which goes to `found`; also returns whether an event may have it."""
    byte = text[at]
    if field == TIMESTAMP:
        if byte == QUOTE:
            end, second = date_time(text, at + 1, state)
            found[2 * TIMESTAMP], found[SECOND] = second // 60, second
            if end >= 0:
                return end + 1, True
    elif field == DURATION:
        if ZERO <= byte <= NINE:
            end, digits, power = number(text, at)
            if end >= 0:
                end, shift = exponent(text, end)
                found[2 * DURATION] = millionths(digits, power + shift)
            return end, found[2 * DURATION] >= 0
    elif field == NR_WORDS:
        if ZERO <= byte <= NINE:
            end, digits, power = number(text, at)
            if end >= 0 and power == 0 and text[end] | LOWER_CASE != LOWER_E:
                found[2 * NR_WORDS] = digits
                # The sum of words needs their value.
                return end, digits >= 0 or not state[ARE_LISTED]
    elif field < EXTRA:
        if byte == QUOTE:
            end = chars(text, at + 1)
            found[2 * field], found[2 * field + 1] = at + 1, end
            return end + 1 if end >= 0 else UNSURE, True
    else:
        return value(text, at, names), True
    return value(text, at, names), False


def line_object(
    text: Bytes, at: int, names: Bytes, state: Ints, layout: Ints, found: Ints
) -> tuple[int, int]:
    """The object of a line; also returns what tells its group.

    Events are grouped by the fields of a series, other events by their name. A name with an escape
    may be the one asked for: events with such a name are grouped by both, for the caller to decode.
    """
    seen, are_valid = 0, True
    first, row = BRACE, 0
    while True:
        at, field = separator(text, at, first, names, layout, row)
        bit = (1 << field) & EVERY_FIELD
        # If a name stands twice the last value counts: that is left to the model.
        if at < 0 or seen & bit:
            return UNSURE, 0
        seen |= bit
        at, is_valid = field_value(text, at, field, names, state, found)
        if at < 0 or (field == EVENT_NAME and not is_valid):
            return UNSURE, 0
        are_valid = are_valid and is_valid
        at = ws(text, at)
        if text[at] == BRACE_END:
            break
        first = COMMA
        if row < (LAYOUT_ROWS - 1) * LAYOUT_SIZE:
            row += LAYOUT_SIZE
    is_event = are_valid and seen == EVERY_FIELD
    start, end = found[2 * EVENT_NAME], found[2 * EVENT_NAME + 1]
    if seen >> EVENT_NAME & 1 == 0:
        return UNSURE, 0
    if are_equal(text, start, end, names, NAME, state[NAME_END]):
        return at + 1 if is_event else UNSURE, state[GROUP_BY] | OF_EVENTS
    if has_escape(text, start, end):
        return at + 1 if is_event else UNSURE, state[GROUP_BY] | BY_NAME | OF_EVENTS
    return at + 1, BY_NAME


# -------------------------------------------------------------------------------------------------
# Sums


def mixed(hashed: int, bits: int) -> int:
    """Returns a hash of a hash and more bits."""
    hashed = ((hashed ^ bits) * MULTIPLIER) & LOW_63
    return hashed ^ hashed >> 32


def is_group(text: Bytes, fields: int, found: Ints, groups: Ints, row: int) -> bool:
    """Whether the group in a row is that of the line just read."""
    if groups[row + GROUP_FIELDS] != fields:
        return False
    for field in range(EVENT_NAME + 1):
        if fields >> field & 1:
            one, other = 2 * field, row + GROUP_STRINGS + 2 * field
            if not are_equal(
                text, found[one], found[one + 1], text, groups[other], groups[other + 1]
            ):
                return False
    return True


def group_row(text: Bytes, fields: int, state: Ints, found: Ints, groups: Ints, slots: Ints) -> int:
    """Returns the row of the line's group, which may be a new one."""
    hashed = fields
    for field in range(EVENT_NAME + 1):
        if fields >> field & 1:
            start, end = found[2 * field], found[2 * field + 1]
            for at in range(start, end, 8):
                hashed = mixed(hashed, first_bytes(text, at, end - at))
    # Open addressing: at least half of the slots are free, so the search ends.
    mask = SLOTS_PER_ROW * state[CAPACITY] - 1
    slot = hashed & mask
    while slots[slot] >= 0:
        if is_group(text, fields, found, groups, slots[slot]):
            return slots[slot]
        slot = (slot + 1) & mask
    row = state[GROUPS] * GROUP_SIZE
    state[GROUPS] += 1
    slots[slot] = row
    groups[row + GROUP_FIELDS], groups[row + GROUP_LINES], groups[row + GROUP_CELL] = fields, 0, -1
    groups[row + GROUP_LATEST] = -1
    for i in range(2 * (EVENT_NAME + 1)):
        groups[row + GROUP_STRINGS + i] = found[i]
    return row


def cell_row(row: int, minute: int, state: Ints, groups: Ints, cells: Ints, slots: Ints) -> int:
    """Returns the row of the sum of a group's minute, which may be a new one."""
    cell = groups[row + GROUP_CELL]
    if cell >= 0 and cells[cell + CELL_MINUTE] == minute:
        return cell
    group = row // GROUP_SIZE
    first = SLOTS_PER_ROW * state[CAPACITY]  # behind the slots of the groups
    slot = mixed(group, minute) & (first - 1)
    cell = slots[first + slot]
    while cell >= 0 and not (
        cells[cell + CELL_GROUP] == group and cells[cell + CELL_MINUTE] == minute
    ):
        slot = (slot + 1) & (first - 1)
        cell = slots[first + slot]
    if cell < 0:
        cell = state[CELLS] * CELL_SIZE
        state[CELLS] += 1
        slots[first + slot] = cell
        cells[cell + CELL_GROUP], cells[cell + CELL_MINUTE] = group, minute
        cells[cell + CELL_COUNT] = cells[cell + CELL_HIGH] = cells[cell + CELL_LOW] = 0
    groups[row + GROUP_CELL] = cell
    return cell


def add_line(
    text: Bytes,
    fields: int,
    state: Ints,
    found: Ints,
    groups: Ints,
    cells: Ints,
    events: Ints,
    slots: Ints,
) -> None:
    """Counts a line that was accepted; adds up its duration, and lists it, if it is an event."""
    row = group_row(text, fields, state, found, groups, slots)
    groups[row + GROUP_LINES] += 1
    if fields & OF_EVENTS:
        groups[row + GROUP_LATEST] = max(groups[row + GROUP_LATEST], found[SECOND])
        cell = cell_row(row, found[2 * TIMESTAMP], state, groups, cells, slots)
        cells[cell + CELL_COUNT] += 1
        # Two halves, which a block of fewer than 2**31 lines cannot overflow.
        cells[cell + CELL_HIGH] += found[2 * DURATION] >> 32
        cells[cell + CELL_LOW] += found[2 * DURATION] & LOW_32
        if state[ARE_LISTED]:
            event = state[EVENTS] * EVENT_SIZE
            state[EVENTS] += 1
            events[event + EVENT_CELL] = cell // CELL_SIZE
            events[event + EVENT_DURATION] = found[2 * DURATION]
            events[event + EVENT_WORDS] = found[2 * NR_WORDS]


def walk(
    text: Bytes,
    names: Bytes,
    state: Ints,
    layout: Ints,
    found: Ints,
    unsure: Ints,
    groups: Ints,
    cells: Ints,
    events: Ints,
    slots: Ints,
) -> None:
    """Reads lines from `state[POSITION]` to `state[STOP]`, or until an array is full.

    Args:
        text: whole lines, the last one possibly unended; a line feed or NUL; `WIDTH` more bytes.
        names: the keys of the fields, each padded to `KEY_BYTES`, the event name, `WIDTH` bytes.
        state: what is to be read, and the counts of what was found.
        layout: `LAYOUT_ROWS` rows, all 0.
        found: `FOUND_SIZE` numbers of the line that is being read.
        unsure: returns start and end of each line that is left to the model, without its line end.
        groups: returns by series, and by name of other events, their lines and strings, and the
            latest second of events.
        cells: returns by group and minute the number and the sum of durations.
        events: returns the cell, the duration and the words of each event, if `ARE_LISTED`.
        slots: two hash tables of `SLOTS_PER_ROW` times the capacity, which is a power of two; all
            -1.
    """
    stop, capacity = state[STOP], state[CAPACITY]
    # No text is remembered: NULs are no date.
    state[LAST_DATE], state[LAST_TIME], state[LAST_MINUTE] = 0, 0, NO_MINUTE
    state[BLANK] = state[UNSURE_LINES] = state[GROUPS] = state[CELLS] = 0
    state[EVENTS] = 0
    at = state[POSITION]
    while (
        at < stop
        and state[UNSURE_LINES] < capacity
        and state[GROUPS] < capacity
        and state[CELLS] < capacity
        and state[EVENTS] < capacity
    ):
        start = at
        at = ws(text, at)
        if at == stop or text[at] == LINE_FEED:
            state[BLANK] += 1
        else:
            at, fields = line_object(text, at, names, state, layout, found)
            if at >= 0:
                at = ws(text, at)
            if at >= 0 and (at == stop or text[at] == LINE_FEED):
                add_line(text, fields, state, found, groups, cells, events, slots)
            else:
                at = start
                while at < stop and text[at] != LINE_FEED:
                    at += 1
                has_return = start < at < stop and text[at - 1] == RETURN
                row = 2 * state[UNSURE_LINES]
                unsure[row], unsure[row + 1] = start, at - has_return
                state[UNSURE_LINES] += 1
        at += 1
    state[POSITION] = at
