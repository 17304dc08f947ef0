"""What a service is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.runner import PipelineResult


class Service(Protocol):
    """Runs jobs on workers of its own."""

    def check_options(
        self, options: PipelineOptions, on_workers: Iterable[tuple[str, str]]
    ) -> None:
        """Refuses options that a job cannot have, without a request.

        Args:
            options: those of the command line.
            on_workers: the paths that the workers read and write, each after its option.

        Raises:
            OptionError: there is such an option.
        """

    def check_service(self, options: PipelineOptions) -> None:
        """Checks that the service answers.

        Raises:
            OptionError, RunError: it does not.
        """

    def is_launched_elsewhere(self, options: PipelineOptions) -> bool:
        """Whether the job is only described here, and starts when this process has ended."""

    def address(self, options: PipelineOptions, result: PipelineResult) -> str | None:
        """The id and the address of a submitted job, for the user; None if there is no address."""
