"""What the pages have in common: their first line, tables, and what the code says below its names."""

import ast
import inspect
from collections.abc import Iterable, Sequence
from itertools import pairwise
from types import ModuleType


def head(title: str, *sources: str) -> str:
    """Begin a page, with what it is written from."""
    return f"<!-- Written by `make docs` from {' and '.join(sources)}. -->\n# {title}\n"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a table."""
    lines = [f"|{'|'.join(f' {cell} ' if cell else ' ' for cell in cells)}|" for cells in (columns, *map(_escaped, rows))]
    return "\n".join([lines[0], "|---" * len(columns) + "|", *lines[1:], ""])


def _escaped(row: Sequence[str]) -> list[str]:
    return [cell.replace("|", r"\|") for cell in row]


def code(words: Iterable[str]) -> str:
    """Enumerate words of a machine."""
    return ", ".join(f"`{word}`" for word in words)


def sentence(clause: str) -> str:
    """Make a sentence of a clause."""
    return f"{clause[0].upper()}{clause[1:].rstrip('.')}."


def meanings(source: ModuleType | type) -> dict[str, str]:
    """Read what stands below the names of a module or of a class, each meaning on one line."""
    (body,) = [ast.parse(inspect.getsource(source))]
    statements = body.body if isinstance(source, ModuleType) else _class_body(body)
    found = {}
    for named, said in pairwise(statements):
        match named, said:
            case ast.Assign(targets=[ast.Name(id=name)]), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = " ".join(text.split())
    return found


def _class_body(module: ast.Module) -> list[ast.stmt]:
    (found,) = module.body
    return found.body if isinstance(found, ast.ClassDef) else []
