"""The page docs/robustness.md: every row of the fault matrix with its tests, or why it has none."""

import ast
from collections.abc import Iterator
from functools import cache

from tests.fault_rows import AREAS, ROWS, STAKES, Row
from tests.kit import HERE

HEAD = """\
<!-- Written by `make docs` from tests/fault_rows.py and the tests that bear a row's name. -->
# What can fail, and what shows that it costs nothing

Each row is a fault. Its tests let it happen, and account for every span wherever spans are sent: what was **lost**, what was
**repeated** (the same bytes once more) and what was **in conflict** (other bytes under the same id). One command brings a fault
back and prints its account:

```sh
make test PYTEST_ARGS='--row A1'            # on loopback
make cluster-test PYTEST_ARGS='--row A1'    # on a real cluster: the tests in tests/cluster/
```

At stake: {stakes}.
"""


@cache
def bearers() -> dict[str, list[str]]:
    """Find the tests that bear the name of a row, as `path::name`."""
    found: dict[str, list[str]] = {}
    for path in sorted(HERE.rglob("test_*.py")):
        for test, row in marks(ast.parse(path.read_text())):
            found.setdefault(row, []).append(f"{path.relative_to(HERE.parent)}::{test}".removesuffix("::"))
    return {row: list(dict.fromkeys(tests)) for row, tests in found.items()}


def marks(module: ast.Module) -> Iterator[tuple[str, str]]:
    """Give each test of a module and a row that it bears; no test is the whole module.

    A mark stands in a decorator, or in a list of parameters that a decorator names.
    """
    named: dict[str, ast.expr] = {}
    for node in module.body:
        match node:
            case ast.FunctionDef(name=name, decorator_list=where):
                names = {one.id for each in where for one in ast.walk(each) if isinstance(one, ast.Name)}
                lists = [named[one] for one in sorted(names & named.keys())]
                yield from ((name, row) for one in [*where, *lists] for row in _rows(one))
            case ast.Assign(targets=[ast.Name(id="pytestmark")], value=value):
                yield from (("", row) for row in _rows(value))
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                named[name] = value


def _rows(where: ast.expr) -> Iterator[str]:
    """Give the rows that `pytest.mark.row` names anywhere in an expression."""
    for node in ast.walk(where):
        match node:
            case ast.Call(func=ast.Attribute(attr="row", value=ast.Attribute(attr="mark")), args=args):
                yield from (ast.literal_eval(one) for one in args)


def page() -> str:
    """Write the page."""
    tests = bearers()
    parts = [HEAD.format(stakes=", ".join(f"**{letter}** {what}" for letter, what in STAKES.items()))]
    for letter, area in AREAS.items():
        rows = [row for row in ROWS if row.name.startswith(letter)]
        lines = "".join(_line(row, tests.get(row.name, [])) for row in rows)
        parts.append(f"## {area}\n\n| row | at stake | fault | tests, or why there is none yet |\n|---|---|---|---|\n{lines}")
    return "\n".join(parts)


def _line(row: Row, tests: list[str]) -> str:
    shown = "<br>".join(f"`{test}`" for test in tests)
    left_out = f"<br>Left out: {row.left_out}" if row.left_out else ""
    return f"| {row.name} | {' '.join(row.stakes)} | {row.fault} | {shown or row.why_not}{left_out} |\n"
