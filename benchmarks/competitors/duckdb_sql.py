"""DuckDB: one SQL statement over `read_json` with typed columns, on all cores."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import duckdb

# How a minute adds up, and what a window is made of.
_SUMS = {
    "mean": "sum(duration) AS total, count(*) AS events",
    "count": "count(*) AS events",
    "words": "sum(nr_words) AS words",
    "per_word": "sum(duration) AS total, sum(nr_words) AS words",
    "min": "min(duration) AS shortest",
    "max": "max(duration) AS longest",
}
_VALUES = {
    "mean": ("sum(total) OVER frame / sum(events) OVER frame", "average_delivery_time"),
    "count": ("(sum(events) OVER frame)::BIGINT", "deliveries"),
    "words": ("(sum(words) OVER frame)::BIGINT", "words"),
    "per_word": ("sum(total) OVER frame / sum(words) OVER frame", "delivery_time_per_word"),
    "min": ("min(shortest) OVER frame", "min_delivery_time"),
    "max": ("max(longest) OVER frame", "max_delivery_time"),
}


def query(
    files: str,
    windows: Sequence[int],
    output: str,
    measures: Sequence[str],
    fields: Sequence[str],
) -> str:
    """The statement: sums by minute, joined to all minutes, and window frames over them.

    A percentile is of the list of a window's durations. That is the quickest of three ways in
    windows of minutes; in those of a day each of the three takes far longer than all else.
    """
    select = "".join(f"{field}, " for field in fields)
    using = ", ".join([*fields, "minute"])
    strings = "".join(f", {field}: 'VARCHAR'" for field in fields)
    size = ["window_size"] if len(windows) > 1 else []
    order = ", ".join(["date", *fields, *size])
    sums = dict.fromkeys(", ".join(map(_sum, measures)).split(", "))
    rows = " UNION ALL ".join(
        _rows(window, measures, fields, f"{window} AS window_size, " if size else "", using)
        for window in windows
    )
    return f"""
        COPY (
            WITH events AS (
                SELECT date_trunc('minute', timestamp) AS minute, {select} duration, nr_words
                FROM read_json(
                    '{files}',
                    format = 'newline_delimited',
                    columns = {{
                        timestamp: 'TIMESTAMP', event_name: 'VARCHAR', duration: 'DOUBLE',
                        nr_words: 'BIGINT' {strings}
                    }}
                )
                WHERE event_name = 'translation_delivered'
            ),
            sums AS (
                SELECT {select} minute, {", ".join(sums)}
                FROM events
                GROUP BY ALL
            ),
            minutes AS (
                SELECT {select} unnest(
                    generate_series(
                        min(minute), max(minute) + INTERVAL 1 MINUTE, INTERVAL 1 MINUTE
                    )
                ) AS minute
                FROM sums
                {"GROUP BY " + ", ".join(fields) if fields else ""}
            )
            {rows}
            ORDER BY {order}
        ) TO '{output}' (FORMAT json)
    """


def _rows(
    window: int, measures: Sequence[str], fields: Sequence[str], size: str, using: str
) -> str:
    return f"""
        (SELECT
            strftime(minute, '%Y-%m-%d %H:%M:%S') AS date,
            {size}
            {"".join(f"{field}, " for field in fields)}
            {", ".join(map(_value, measures))}
        FROM minutes LEFT JOIN sums USING ({using})
        WINDOW frame AS (
            {"PARTITION BY " + ", ".join(fields) if fields else ""}
            ORDER BY minute
            RANGE BETWEEN INTERVAL {window} MINUTE PRECEDING AND INTERVAL 1 MINUTE PRECEDING
        ))
    """


def _sum(measure: str) -> str:
    if measure in _SUMS:
        return _SUMS[measure]
    if measure.startswith("within_"):
        limit = measure.removeprefix("within_")
        return f"count(*) AS events, count(*) FILTER (duration <= {limit}) AS {measure}"
    return "list(duration) AS durations"


def _value(measure: str) -> str:
    if measure in _VALUES:
        value, name = _VALUES[measure]
    elif measure.startswith("within_"):
        value, name = f"sum({measure}) OVER frame / sum(events) OVER frame", measure
    else:
        rank = float(measure[1:]) / 100
        durations = "flatten(list(durations) OVER frame)"
        value = f"list_aggregate({durations}, 'quantile_disc', {rank:.5f})"
        name = f"{measure}_delivery_time"
    return f'coalesce({value}, 0) AS "{name}"'


def main(files: str, windows: str, output: str, measures: str, *fields: str) -> None:
    """Runs the statement."""
    sizes = [int(each) for each in windows.split(",")]
    duckdb.sql(query(files, sizes, output, measures.split(","), fields))


if __name__ == "__main__":
    main(*sys.argv[1:])
