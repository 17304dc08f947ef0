"""What can go wrong with a run, each with one line that names the place and the remedy.

All take a single message: a runner that passes an exception on as text keeps its name and message.
"""

from __future__ import annotations


class RunError(Exception):
    """A run that ends without a result."""


class InputError(RunError):
    """An input that cannot be found or read, or that is cut off."""


class OutputError(RunError):
    """An output that cannot be written."""


class TooManyRowsError(RunError):
    """A result of more rows than allowed."""


class TooManyRejectedError(RunError):
    """More rejected lines than allowed, on a runner that reports it as a failed job."""
