"""DuckDB: one SQL statement over `read_json` with typed columns, on all cores."""

from __future__ import annotations

import sys

import duckdb


def query(files: str, window_minutes: int, output: str, fields: list[str]) -> str:
    """The statement: sums by minute, joined to all minutes, and a window frame over them."""
    select = "".join(f"{field}, " for field in fields)
    partition = f"PARTITION BY {', '.join(fields)}" if fields else ""
    using = ", ".join([*fields, "minute"])
    strings = "".join(f", {field}: 'VARCHAR'" for field in fields)
    order = ", ".join(["date", *fields])
    return f"""
        COPY (
            WITH events AS (
                SELECT date_trunc('minute', timestamp) AS minute, {select} duration
                FROM read_json(
                    '{files}',
                    format = 'newline_delimited',
                    columns = {{
                        timestamp: 'TIMESTAMP', event_name: 'VARCHAR', duration: 'DOUBLE' {strings}
                    }}
                )
                WHERE event_name = 'translation_delivered'
            ),
            sums AS (
                SELECT {select} minute, sum(duration) AS total, count(*) AS events
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
            SELECT
                strftime(minute, '%Y-%m-%d %H:%M:%S') AS date,
                {select}
                coalesce(sum(total) OVER frame / sum(events) OVER frame, 0)
                    AS average_delivery_time
            FROM minutes LEFT JOIN sums USING ({using})
            WINDOW frame AS (
                {partition}
                ORDER BY minute
                RANGE BETWEEN
                    INTERVAL {window_minutes} MINUTE PRECEDING AND INTERVAL 1 MINUTE PRECEDING
            )
            ORDER BY {order}
        ) TO '{output}' (FORMAT json)
    """


def main(files: str, window: str, output: str, *fields: str) -> None:
    """Runs the statement."""
    duckdb.sql(query(files, int(window), output, list(fields)))


if __name__ == "__main__":
    main(*sys.argv[1:])
