"""Where the rows, dead letters and late events of a run go: one module for each kind of sink.

A sink takes rows or lines and makes them stay: under a name complete or not at all, or appended as
they come. What a row looks like is the affair of `pipeline.formats`. A new sink is one module with
a class that fits `Sink`, and a line in `SINKS`: the command line, its checks and help, and the
documentation's tables are made from that.

`sorting` is a part of `sorted_files`; `destinations` and `results` are about files, streams and
pipes of this machine.
"""

from __future__ import annotations

from apache_beam.coders import registry

from pipeline.core.errors import OptionError
from pipeline.core.options import Given, RunKind
from pipeline.sinks.appended_lines import AppendedLines
from pipeline.sinks.hourly_files import HourlyFiles
from pipeline.sinks.pubsub import PubSubTopic
from pipeline.sinks.sink import Contents, Sink
from pipeline.sinks.sorted_files import SortedFileCoder, SortedFiles
from pipeline.sinks.sorting import SortedFile

SINKS: tuple[type[Sink], ...] = (SortedFiles, AppendedLines, HourlyFiles, PubSubTopic)

registry.register_coder(SortedFile, SortedFileCoder)


def sink_of(contents: Contents, given: Given, run: RunKind) -> Sink | None:
    """The sink that the options of a run ask for, if they ask for one.

    Raises:
        OptionError: they ask for two, or for one that cannot be.
    """
    found = [sink for sink in (each.of(contents, given, run) for each in SINKS) if sink is not None]
    if len(found) > 1:
        raise OptionError(f"--{found[0].option} and --{found[1].option} are both given: name one")
    return found[0] if found else None
