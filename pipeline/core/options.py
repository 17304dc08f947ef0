"""Options of the command line, as data.

The parser, its help and refusals, the flex templates and the tables in the documentation are all
made from these. Each option stands in the module that reads it.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

REQUIRED = "required"
NONE = "none"

Given = Mapping[str, Any]
"""The value of each option by its name, without dashes; None or False where it is not given."""


@dataclass(frozen=True)
class RunKind:
    """A kind of run: what it reads, and where it runs.

    Attributes:
        name: what messages call it.
        source: the name of the source's class.
        is_bounded: whether its input ends by itself.
        is_job: whether a service runs it, rather than this process.
    """

    name: str
    source: str
    is_bounded: bool
    is_job: bool


@dataclass(frozen=True)
class Use:
    """The kinds of run that use an option; all others refuse it.

    Attributes:
        name: what messages call these kinds of run together.
        includes: whether a kind is one of them.
    """

    name: str
    includes: Callable[[RunKind], bool]


EVERY_RUN = Use("every run", lambda run: True)
BOUNDED = Use("batch", lambda run: run.is_bounded)
UNBOUNDED = Use("unbounded input", lambda run: not run.is_bounded)
UNBOUNDED_HERE = Use(
    "unbounded input on this machine", lambda run: not run.is_bounded and not run.is_job
)
JOBS = Use("jobs of a remote runner", lambda run: run.is_job)


@dataclass(frozen=True)
class Option:
    """An option: `--name VALUE`, or a switch.

    Attributes:
        help: what it means, without its default; `` ` `` marks what is code.
        used_by: the kinds of run that use it.
        metavar: what stands for its value in the help; None for a switch, or where there are
            choices.
        parse: reads the value, and raises argparse.ArgumentTypeError for a wrong one. The result is
            of a plain type: runners take no other.
        default: the value where it is not given.
        default_text: what happens then, where `default` does not say it.
        choices: all values that it takes, if these are few.
        is_repeatable: whether it may be given several times; its value is then a list.
    """

    name: str
    help: str
    used_by: Use
    metavar: str | None = None
    parse: Callable[[str], object] = str
    default: str | None = None
    default_text: str = NONE
    choices: tuple[str, ...] = ()
    is_repeatable: bool = False

    @property
    def is_switch(self) -> bool:
        """Whether it takes no value."""
        return self.metavar is None and not self.choices

    def add_to(self, parser: argparse._ActionsContainer) -> None:
        """Adds it to a parser or to a group of one."""
        if self.is_switch:
            parser.add_argument(f"--{self.name}", action="store_true", help=self._argparse_help())
            return
        parser.add_argument(
            f"--{self.name}",
            action="append" if self.is_repeatable else "store",
            metavar=self.metavar,
            type=self.parse,
            default=self.default,
            choices=self.choices or None,
            help=self._argparse_help(),
        )

    def _argparse_help(self) -> str:
        default = self.default or self.default_text
        if default == REQUIRED:
            shown = f" ({REQUIRED})"
        elif self.is_switch or default == NONE:
            shown = ""
        else:
            shown = f" (default: {default})"
        return f"{self.help}{shown}".replace("`", "").replace("%", "%%")


def chosen(given: Given, kind: type) -> dict[str, Any]:
    """The given values of the options that are named like fields of a dataclass.

    Options that are not given are left out: the dataclass knows their defaults.
    """
    names = [each.name for each in fields(kind)]
    return {name: given[name] for name in names if given.get(name) is not None}


@dataclass(frozen=True)
class OptionGroup:
    """Options that belong together, under the title that the help gives them."""

    title: str
    options: tuple[Option, ...]


def whole_number(least: int, most: int | None = None) -> Callable[[str], int]:
    """The `parse` of an option that takes a whole number in a range, both ends included."""
    wanted = f"{least} to {most}" if most is not None else f"{least} or more"

    def parse(text: str) -> int:
        if re.fullmatch(r"[0-9]{1,18}", text):
            number = int(text)
            if least <= number and (most is None or number <= most):
                return number
        raise argparse.ArgumentTypeError(f"takes a whole number, {wanted}, not {text!r}")

    return parse


def checked(parse: Callable[[str], object]) -> Callable[[str], str]:
    """The `parse` of an option that stays text, once `parse` has raised no ValueError for it."""

    def check(text: str) -> str:
        try:
            parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error
        return text

    return check
