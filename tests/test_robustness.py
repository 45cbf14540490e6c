"""The fault matrix is whole."""

import pytest

from tests.fault_rows import AREAS, BY_NAME, ROWS, STAKES, Row
from tests.robustness import bearers


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_row_has_a_test_or_a_reason(row: Row) -> None:
    """One of both, and never both: a reason that a test has overtaken is a lie."""
    assert bool(bearers().get(row.name)) != bool(row.why_not)
    assert not (row.why_not and row.left_out)
    assert set(row.stakes) <= STAKES.keys()
    assert row.name[0] in AREAS


def test_every_mark_names_a_row() -> None:
    """No test bears the name of a row that does not exist, and no row stands in the table twice."""
    assert bearers().keys() <= BY_NAME.keys()
    assert len(BY_NAME) == len(ROWS)
