"""The tables that set Tekton's status beside ours are what the recordings say."""

import pytest

from tests.comparison import ROOT, TABLES, is_wrong, steps_of, with_table
from tests.test_truth import KILLED_BEFORE_FIRST_LINE, TRACED


@pytest.mark.parametrize("page", TABLES)
def test_the_tables_are_current(page: str) -> None:
    """What a page shows is computed from the recordings; `python -m tests.comparison` writes it."""
    text = (ROOT / page).read_text()
    assert with_table(text, TABLES[page]()) == text


def test_no_step_is_told_wrong() -> None:
    """Whether a step ran, and whether it was cut off, is what its own script says, in every recording."""
    steps = [one for path in TRACED for one in steps_of(path)]
    assert [one for one in steps if is_wrong(one) and (one.recording, one.container) not in KILLED_BEFORE_FIRST_LINE] == []
