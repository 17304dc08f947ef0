"""The pipeline's transforms: chunks of lines to duration sums, duration sums to rows.

Here belongs what a pipeline of somebody else can use: `ParseEvents`, `MovingAverage`, and the steps
that they are made of. A transform holds no logic that could be tested without Beam: that is in
`pipeline.core` and `pipeline.parsing`. Reading and writing are the affair of `pipeline.sources` and
`pipeline.sinks`.

The coder of each type stands beside the first transform that uses the type. All are registered
here, so that Beam knows them whichever of these modules is imported first.
"""

from __future__ import annotations

from apache_beam.coders import registry

from pipeline.core.durations import DurationSum, MeanDuration, MinuteSums
from pipeline.core.events import DeadLetter
from pipeline.core.rows import Measured, Row, RowBlock
from pipeline.core.shards import RevisedRows, ShardBook, ShardSums
from pipeline.core.silences import Silences
from pipeline.core.tally import Tally
from pipeline.parsing.chunks import Chunk
from pipeline.transforms.arrival import ChunkCoder
from pipeline.transforms.combine_fns import DurationSumCoder, MeanDurationCoder, MeasuredCoder
from pipeline.transforms.moving_average import RowBlockCoder
from pipeline.transforms.parse_events import DeadLetterCoder, MinuteSumsCoder, TallyCoder
from pipeline.transforms.revisions import RowCoder, SilencesCoder, StateKey, StateKeyCoder
from pipeline.transforms.rolling_rows import (
    Clock,
    ClockCoder,
    RevisedRowsCoder,
    ShardBookCoder,
    ShardSumsCoder,
)

for _type, _coder in (
    (Chunk, ChunkCoder),
    (MinuteSums, MinuteSumsCoder),
    (DeadLetter, DeadLetterCoder),
    (Tally, TallyCoder),
    (DurationSum, DurationSumCoder),
    (MeanDuration, MeanDurationCoder),
    (Measured, MeasuredCoder),
    (StateKey, StateKeyCoder),
    (Silences, SilencesCoder),
    (Row, RowCoder),
    (RowBlock, RowBlockCoder),
    (ShardSums, ShardSumsCoder),
    (ShardBook, ShardBookCoder),
    (RevisedRows, RevisedRowsCoder),
    (Clock, ClockCoder),
):
    registry.register_coder(_type, _coder)
