"""README.md and docs/ are true: commands run and print what is shown, tables are complete.

In them, ```sh is a command, ```python a program, and blocks marked `output` are what the one before
them prints or writes. ```bash is left out: a test cannot run the suite that it is part of.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import tables
from copies import CHECKOUT

from pipeline.cli.options import OPTIONS

_PAGES = [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").glob("*.md"))]
_BLOCK = re.compile(r"^```(\w+)( output)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class _Example(NamedTuple):
    language: str
    code: str
    outputs: tuple[str, ...] = ()


def _examples() -> list[_Example]:
    examples: list[_Example] = []
    for page in _PAGES:
        for language, is_output, text in _BLOCK.findall(page.read_text()):
            if is_output:
                examples[-1] = examples[-1]._replace(outputs=(*examples[-1].outputs, text))
            elif language in ("sh", "python"):
                examples.append(_Example(language, text))
    return examples


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout whose environment is set up: it is the one that the tests run in."""
    copy = tmp_path_factory.mktemp("readme") / "checkout"
    ignored = shutil.ignore_patterns(".*", "__pycache__")
    shutil.copytree(CHECKOUT, copy, ignore=ignored)
    commands = copy / ".venv" / "bin"
    commands.mkdir(parents=True)
    for name, arguments in {"python": "", "unbabel_cli": "-m pipeline"}.items():
        command = commands / name
        command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {arguments} "$@"\n')
        command.chmod(0o755)
    checksum = subprocess.check_output(["cksum"], input=(copy / "requirements.lock").read_bytes())
    (copy / ".venv" / ".made-from").write_bytes(checksum)
    return copy


@pytest.mark.slow
@pytest.mark.parametrize("example", _examples(), ids=lambda example: example.code.split("\n")[0])
def test_an_example_does_what_its_page_says(example: _Example, checkout: Path) -> None:
    environment = {
        **os.environ,
        "PATH": f"{checkout / '.venv' / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(checkout),
    }
    command = ["bash", "-euc"] if example.language == "sh" else ["python", "-c"]
    before = set(checkout.iterdir())
    run = subprocess.run(
        [*command, example.code],
        cwd=checkout,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    written = [path for path in set(checkout.iterdir()) - before if path.is_file()]
    shown = "\n".join([run.stdout, run.stderr, *(path.read_text() for path in written)])
    assert [output for output in example.outputs if output not in shown] == []
    if example.outputs and example.outputs[0].startswith('{"date"'):
        assert run.stdout == example.outputs[0]
    for path in written:
        path.unlink()


def test_there_are_examples_with_outputs() -> None:
    assert len(_examples()) >= 8
    assert sum(len(example.outputs) for example in _examples()) >= 3


def test_the_readme_is_a_tour() -> None:
    assert len(_PAGES[0].read_text().splitlines()) <= 150


def test_the_tables_of_options_are_made_from_the_options() -> None:
    stale = [path.name for path, text in tables.pages().items() if path.read_text() != text]
    assert not stale, "run python docs/tables.py"


def test_the_tables_of_options_have_every_option() -> None:
    text = (CHECKOUT / "docs" / "options.md").read_text()
    assert [name for name in OPTIONS if f"| `--{name}" not in text] == []


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: page.name)
def test_links_lead_to_what_is_there(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not (page.parent / link).exists()] == []
