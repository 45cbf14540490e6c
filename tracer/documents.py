"""How does text become plain values, whoever wrote it? The one door to YAML, and a mend for JSON.

Keeps: no aliases, for a few lines of them can stand for gigabytes; no depth that a recursive loader cannot bear.
"""

import re
from collections.abc import Iterator

import yaml

_DEEPEST = 100  # Kubernetes' objects have about 15 levels


_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<lone>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)


def without_lone_surrogates(json: bytes) -> bytes:
    """Write U+FFFD for each half of a surrogate pair that JSON text has without its other half, which is no character at all.

    Source: RFC 8259, 8.2; Go's encoding/json, and so the API server, does the same.
    """
    return _ESCAPE.sub(lambda found: rb"\ufffd" if found["lone"] else found[0], json)


def yaml_documents(content: bytes) -> Iterator[object]:
    """Give the documents of a YAML text, as dicts, lists and scalars. Raises ValueError with a clause that says what is wrong."""
    try:
        depth = 0
        for event in yaml.parse(content, Loader=yaml.CSafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if isinstance(event, yaml.AliasEvent):
                raise ValueError("has YAML aliases, which are not read")  # noqa: TRY004 - the promise is one kind of error
            if depth > _DEEPEST:
                raise ValueError("is nested too deeply")
        yield from yaml.load_all(content, Loader=yaml.CSafeLoader)
    except (yaml.YAMLError, RecursionError, TypeError, LookupError, AttributeError) as error:
        raise ValueError(f"is neither JSON nor YAML: {_said(error)}") from error


def _said(error: Exception) -> str:
    """Say what is wrong with a text, and where."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem and error.problem_mark:
        return f"{error.problem} in line {error.problem_mark.line + 1}"
    return str(error).splitlines()[0] if str(error) else type(error).__name__
