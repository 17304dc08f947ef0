"""The least that any Beam pipeline costs: one element and no step, on FnApiRunner."""

from __future__ import annotations

import apache_beam as beam
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

if __name__ == "__main__":
    with beam.Pipeline(FnApiRunner()) as pipeline:
        _ = pipeline | beam.Create([None])
