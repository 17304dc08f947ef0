"""What a run reads: one module for each kind of source.

A source gives chunks of bytes that hold whole lines, and says whether they end. Here belongs how
those bytes are found, opened and read, and how far event time is in them. What a line means is the
affair of `pipeline.parsing`. A new source is one module with a class that fits `Source`, and a line
in `SOURCES`: the command line, its checks and help, and the documentation's tables are made from
that.

`sections` (the blocks of a file) and `spooling` are parts of `whole_files`. Those of
`growing_files` are `tail` (files as they grow), `streams` (pipes as they are written), the
`whole_lines` of both, the `event_clock`, and `timed_tail`, which puts them together.
"""

from __future__ import annotations

from apache_beam.coders import registry

from pipeline.sources.growing_files import GrowingFiles
from pipeline.sources.pubsub import PubSubMessages
from pipeline.sources.sections import ReadTask
from pipeline.sources.source import Source as Source
from pipeline.sources.whole_files import ReadTaskCoder, WholeFiles

SOURCES: tuple[type[Source], ...] = (WholeFiles, GrowingFiles, PubSubMessages)

registry.register_coder(ReadTask, ReadTaskCoder)
