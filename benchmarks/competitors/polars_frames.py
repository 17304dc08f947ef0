"""polars: a lazy scan with a schema, on all cores, on the engine for data larger than memory."""

from __future__ import annotations

import sys

import polars as pl


def main(files: str, window: str, output: str, *fields: str) -> None:
    """Sums by minute, joined to all minutes, and a rolling window over them."""
    strings = dict.fromkeys(("timestamp", "event_name", *fields), pl.String())
    minute = pl.col("timestamp").str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit="us")
    sums = (
        pl.scan_ndjson(files, schema={**strings, "duration": pl.Float64()})
        .filter(pl.col("event_name") == "translation_delivered")
        .group_by(*fields, minute.dt.truncate("1m").alias("date"))
        .agg(pl.col("duration").sum().alias("total"), pl.len().alias("events"))
        .collect(engine="streaming")
    )
    all_minutes = pl.datetime_range(
        pl.col("date").min(), pl.col("date").max().dt.offset_by("1m"), "1m"
    )
    minutes = (
        sums.group_by(fields).agg(all_minutes).explode("date")
        if fields
        else sums.select(all_minutes)
    )
    mean = pl.col("total").sum() / pl.col("events").sum()
    (
        minutes.join(sums, on=[*fields, "date"], how="left")
        .with_columns(pl.col("total", "events").fill_null(0))
        .sort(*fields, "date")
        .rolling("date", period=f"{window}m", offset=f"-{window}m", closed="left", group_by=fields)
        .agg(mean.fill_nan(0).alias("average_delivery_time"))
        .sort("date", *fields)
        .select(pl.col("date").dt.strftime("%Y-%m-%d %H:%M:%S"), *fields, "average_delivery_time")
        .write_ndjson(output)
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
