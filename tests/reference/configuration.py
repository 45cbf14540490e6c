"""The page docs/reference/configuration.md: every setting of the table, and which commands take it."""

from collections.abc import Iterator
from typing import Any

import msgspec
import yaml

from tests.reference.writing import code, head, sentence, table
from tracer.cli import cli
from tracer.config import KEYS, Config, Key
from tracer.settings import OTHER_VARIABLES, load

_ABOUT = """
Each setting can be given in four ways. The first that says something counts:

1. a flag of the command,
2. its variable `TRACER_...`,
3. a variable of OpenTelemetry's, where the setting has one,
4. a YAML file: `--config FILE`, or the variable `TRACER_CONFIG`.

Then the default is used. [`tracer check`](command-line.md#tracer-check) prints every setting with its value and its source.
An unknown key, an unknown variable `TRACER_...` and a value that is not allowed are refused with exit code 2, also where
another source goes before them. The variables of OpenTelemetry's that are about sending are read only by what sends.

A variable or a flag takes a list with commas, and pairs as `KEY=VALUE,...`. In the chart all of it stands below
[`config`](../../deploy/chart/values.yaml). All replicas must have the same settings below `spans`, `service` and `cluster`,
for they enter the bytes of every span.
"""
_FILE = """
## A file with every setting

This file says what is so without a file:

```yaml
{file}```
"""
_OTHERS = """
## Other variables

{others}
A command that asks a cluster finds it as kubectl does: by `--kubeconfig` and `--context`, `KUBECONFIG`, the Pod's own account, or
`~/.kube/config`.
"""
_WITHOUT = "Without a section"


def commands(key: Key) -> list[str]:
    """Name the commands that take a setting as a flag."""
    return [name for name, command in sorted(cli.commands.items()) if any(key.flag in one.opts for one in command.params)]


def example() -> str:
    """Write a file of all defaults."""
    lines: list[str] = []
    sections: list[str] = []
    for key in _in_order():
        *above, name = key.name.split(".")
        if above != sections:
            lines += [f"{'.'.join(above)}:"] if above else []
            sections = above
        its = [f"# {sentence(key.about)}", *_written(name, msgspec.to_builtins(key.default))]
        lines += ["  " * len(above) + line for line in its]
    return "\n".join([*lines, ""])


def _written(name: str, value: Any) -> list[str]:  # noqa: ANN401 - of a setting of any type
    """Write a value as people write YAML: pairs a line each, all else behind its name."""
    match value:
        case ((_, _), *_):
            return [f"{name}:", *(f"  {key}: {its}" for key, its in value)]
        case tuple() | list():
            return [f"{name}: {list(value)}"]
        case _:
            return [yaml.safe_dump({name: value}, width=1_000).rstrip().replace("''", '""')]


def page() -> str:
    """Write the page."""
    parts = [head("Configuration", "tracer/config.py", "tracer/settings.py"), _ABOUT, _FILE.format(file=example())]
    about = dict(_sections())
    section = None
    for key in _in_order():
        if (its := key.name.rpartition(".")[0]) != section:
            section = its
            parts.append(f"\n## {f'`{its}`' if its else _WITHOUT}\n\n{about[its]}\n" if its else f"\n## {_WITHOUT}\n")
        parts.append(f"\n### `{key.name}`\n\n{sentence(key.about)}\n\n{table(('', ''), _rows(key))}")
    others = ((code(names), sentence(text)) for names, text in OTHER_VARIABLES.items())
    return "".join([*parts, _OTHERS.format(others=table(("variable", ""), others))])


def _rows(key: Key) -> Iterator[tuple[str, str]]:
    default = next(value for name, value, _ in load({}, {}).lines() if name == key.name)
    yield "default", "<br>".join(line if line == "(none)" else f"`{line}`" for line in default.split("\n"))
    yield "allowed", key.allowed
    yield "flag", f"`{key.flag}` of {code(f'tracer {name}' for name in commands(key))}"
    yield "variable", code([key.variable, *key.also])


def _sections() -> Iterator[tuple[str, str]]:
    """Give the sections with what they are about."""
    for one in msgspec.structs.fields(Config):
        if isinstance(one.default, msgspec.Struct):
            yield one.encode_name, (type(one.default).__doc__ or "").strip()


def _in_order() -> list[Key]:
    """Give the settings that have a section first."""
    return sorted(KEYS.values(), key=lambda key: "." not in key.name)
