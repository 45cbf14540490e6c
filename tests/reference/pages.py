"""Which pages are made from the code, and by what?"""

from collections.abc import Callable
from pathlib import Path

from tests import robustness
from tests.kit import HERE
from tests.reference import command_line, comparison, configuration, decisions, log_events, metrics, spans

DOCS = HERE.parent / "docs"
PAGES: dict[Path, Callable[[], str]] = {
    DOCS / "reference" / "command-line.md": command_line.page,
    DOCS / "reference" / "configuration.md": configuration.page,
    DOCS / "reference" / "spans.md": spans.page,
    DOCS / "reference" / "metrics.md": metrics.page,
    DOCS / "reference" / "log-events.md": log_events.page,
    DOCS / "robustness.md": robustness.page,
    DOCS / "comparison.md": comparison.page,
    HERE.parent / "README.md": comparison.readme,
    DOCS / "decisions" / "README.md": decisions.page,
}
