"""From bytes to sums: what the lines of a chunk hold.

Here belongs how lines are told apart, validated and added up. The compiled kernel takes whole
blocks; the model of `pipeline.core.events`, which defines what is valid, judges each line that the
kernel is not sure of. The kernel may only accept what the model accepts, with the same values.
Where bytes come from is the affair of `pipeline.sources`; Beam, of `pipeline.transforms`.
"""
