"""The page docs/decisions/README.md: every decision by its title."""

from tests.kit import HERE
from tests.reference.writing import head

FOLDER = HERE.parent / "docs" / "decisions"
_ABOUT = """
One page each: what was decided, and why. A page is superseded by a later one, never edited.

"""


def page() -> str:
    """Write the page."""
    found = sorted(path for path in FOLDER.glob("[0-9]*.md"))
    lines = [f"- [{path.read_text().splitlines()[0].removeprefix('# ')}]({path.name})\n" for path in found]
    return head("Decisions", "the pages of this folder") + _ABOUT + "".join(lines)
