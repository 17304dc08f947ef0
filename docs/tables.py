"""The tables of options in README.md and docs/options.md: this file, run, writes them.

They are made from the options of the command, between `<!-- options: NAMES -->` and `<!-- end -->`;
without names it is all options, in a table for each group.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from pipeline.cli.options import GROUPS, OPTIONS
from pipeline.core.options import Option

_CHECKOUT = Path(__file__).parents[1]
_PAGES = (_CHECKOUT / "README.md", _CHECKOUT / "docs" / "options.md")
_MARKED = re.compile(r"(<!-- options:([ \w]*)-->\n).*?(<!-- end -->)", re.DOTALL)


def pages() -> dict[Path, str]:
    """The pages as they should be, by path."""
    return {path: _MARKED.sub(_filled, path.read_text()) for path in _PAGES}


def _filled(marked: re.Match[str]) -> str:
    begin, names, end = marked.groups()
    if names.split():
        lines = _table((OPTIONS[name] for name in names.split()), has_default=False)
    else:
        lines = _all_tables()
    return "\n".join([begin, *lines, "", end])


def _all_tables() -> Iterator[str]:
    for number, group in enumerate(GROUPS):
        yield from ([""] if number else [])
        yield f"### {group.title}"
        yield ""
        yield from _table(group.options, has_default=True)


def _table(options: Iterable[Option], *, has_default: bool) -> Iterator[str]:
    yield "| option | default | meaning |" if has_default else "| option | meaning |"
    yield "| --- | --- | --- |" if has_default else "| --- | --- |"
    for option in options:
        values = f" {{{', '.join(option.choices)}}}" if option.choices else ""
        cells = [f"`--{option.name}{values}`"]
        if has_default:
            cells.append(f"`{option.default}`" if option.default else _default_text(option))
        yield f"| {' | '.join([*cells, option.help])} |"


def _default_text(option: Option) -> str:
    return "off" if option.is_switch else option.default_text


if __name__ == "__main__":
    for _path, _text in pages().items():
        _path.write_text(_text)
