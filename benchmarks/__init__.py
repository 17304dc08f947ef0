"""How fast the pipeline is, beside other ways to do the same: `python -m benchmarks --help`."""
