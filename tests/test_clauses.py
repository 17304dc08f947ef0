"""Every clause of the contract has a test that names it, and no test names another one."""

import re

from copies import CHECKOUT

_CLAUSE = re.compile(r"^\*\*(\d+\.\d+)\*\*", re.MULTILINE)
_MARK = re.compile(r'(?:mark\.clause|\bCase)\(((?:"\d+\.\d+"(?:, )?)+)')


def _named() -> set[str]:
    texts = [path.read_text() for path in (CHECKOUT / "tests").rglob("*.py")]
    return {
        clause
        for text in texts
        for named in _MARK.findall(text)
        for clause in re.findall(r"\d+\.\d+", named)
    }


def test_every_clause_has_a_test() -> None:
    clauses = _CLAUSE.findall((CHECKOUT / "docs" / "contract.md").read_text())
    assert len(clauses) == len({*clauses}) > 40
    assert {*clauses} - _named() == set(), "clauses without a test"
    assert _named() - {*clauses} == set(), "tests of clauses that are not in the contract"
