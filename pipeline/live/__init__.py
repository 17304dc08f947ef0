"""What is followed on this machine, from its lines to its rows, in one step.

Only this process can read what it follows, and it knows by itself how far event time is. So nothing
here needs a shuffle, state or timers of a runner: a line is parsed once, where it is read, and
judged by the watermark of that moment. One step owns the files, the watermark and the series.
Between two of its turns all that is known fits together, and can be stored: `--state_dir`.

`following` is the logic, `following_step` the step for Beam. `checkpoints` is how a moment is
stored, `memory` when. What a line means is the affair of `pipeline.parsing`, which rows there are
that of `pipeline.core.shards`.
"""
