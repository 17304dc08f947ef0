"""The gate: how many rejected lines a run may have and still give its rows."""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass
from decimal import Decimal

from pipeline.core.events import NOT_JSON_LINES
from pipeline.core.tally import Tally


@dataclass(frozen=True)
class MaxRejected:
    """How many lines may be rejected: a count, or a share of the lines that are not blank.

    Whatever is allowed, an input whose every line is rejected is refused as the wrong file, unless
    the share is the whole. See the contract, section 4.
    """

    count: int | None = None
    share: Decimal | None = None

    @classmethod
    def parse(cls, text: str) -> MaxRejected:
        """Reads a count (`100`) or a share (`0.5%`).

        Raises:
            ValueError: it is neither.
        """
        if re.fullmatch(r"[0-9]{1,18}", text):
            return cls(count=int(text))
        if re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,15})?%", text):
            share = Decimal(text[:-1]) / 100
            if share <= 1:
                return cls(share=share)
        raise ValueError(f"takes a count (100) or a share (0.5%), not {text!r}")

    def allows(self, rejected: int, non_blank: int) -> bool:
        """Whether a run with so many rejected lines may give its rows."""
        if self.share is not None and self.share >= 1:
            return True
        if rejected == non_blank:
            return non_blank == 0
        if self.count is not None:
            return rejected <= self.count
        return self.share is None or rejected <= self.share * non_blank

    def allows_run(self, tally: Tally) -> bool:
        """Whether the run of a tally may give its rows."""
        return self.allows(tally.rejected.total(), tally.non_blank)


def refusal(rejected: int, non_blank: int, reasons: Container[str]) -> str:
    """Why a run is refused for its rejected lines, and what its input looks like.

    Args:
        rejected: the number of rejected lines.
        non_blank: the number of lines that are not blank.
        reasons: the reasons for which lines were rejected.
    """
    if rejected < non_blank:
        return (
            f"{rejected:,} of {non_blank:,} lines were rejected, more than --max_rejected allows; "
            "no rows were written"
        )
    forms = (error.message for error in NOT_JSON_LINES if error.type in reasons)
    hint = next((f"; it looks like {form}" for form in forms), "")
    return (
        "every line was rejected, so that this is most likely the wrong file; no rows were "
        f"written (--max_rejected=100% allows it){hint}"
    )
