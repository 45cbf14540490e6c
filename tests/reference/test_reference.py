"""The reference pages say what is so, and all of it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit import HERE
from tests.reference import comparison, configuration, log_events, spans
from tests.reference.pages import DOCS, PAGES
from tests.reference.sights import ELSEWHERE, recorded, sighted
from tests.reference.writing import meanings
from tests.test_truth import KILLED_BEFORE_FIRST_LINE, TRACED
from tracer.cli import cli
from tracer.config import KEYS, Config
from tracer.errors import EXIT_CODES, TracerError
from tracer.events import FIELD_MEANINGS, FIELDS, What
from tracer.settings import load
from tracer.telemetry import attributes as keys

PROGRAM = HERE.parent / "tracer"
REFERENCE = DOCS / "reference"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_page_is_current(path: Path) -> None:
    """It says what the code says; `make docs` writes it anew."""
    assert path.read_text() == PAGES[path]()


def test_nothing_else_is_in_the_reference() -> None:
    """Each page of the reference is made from the code, so none of them grows old."""
    assert set(REFERENCE.iterdir()) == {path for path in PAGES if path.parent == REFERENCE}


# ---------------------------------------------------------------- configuration


def test_the_file_says_what_is_so_without_it() -> None:
    """The example has every setting, can be used, and changes nothing."""
    settings = load({}, {}, ("configuration.md", configuration.example().encode()))
    assert settings.config == Config()
    assert settings.sources.keys() == KEYS.keys()


def test_every_setting_is_for_something() -> None:
    """Each is a flag of `check`, and of a command that does something with it."""
    for key in KEYS.values():
        first, *others = configuration.commands(key)
        assert first == "check"
        assert others, key.name


# ---------------------------------------------------------------- the command line


def test_every_command_and_option_is_there() -> None:
    """Each command has its chapter, with every flag that it takes."""
    page = (REFERENCE / "command-line.md").read_text()
    chapters = dict(zip(*[iter(re.split(r"^## (.+)\n", page, flags=re.MULTILINE)[1:])] * 2, strict=True))
    assert chapters.keys() == {*(f"tracer {name}" for name in cli.commands), "Exit codes"}
    for name, command in cli.commands.items():
        flags = [flag for one in command.params for flag in one.opts if flag.startswith("-")]
        assert [flag for flag in flags if flag not in chapters[f"tracer {name}"]] == []


def test_every_exit_code_is_there() -> None:
    """Each code that an error has is in the table, and each of the table is told by an example or says what there is instead."""
    of_errors = {TracerError.exit_code, *(error.exit_code for error in TracerError.__subclasses__())}
    assert of_errors < EXIT_CODES.keys()
    page = (REFERENCE / "command-line.md").read_text()
    assert [int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)] == list(EXIT_CODES)


# ---------------------------------------------------------------- spans


def test_what_a_recording_comes_to_is_on_the_page() -> None:
    """Each attribute of each span of each recording is in the table, with the kind of that span."""
    rows = dict(re.findall(r"^\| `([^`]+)` \| ([^|]+) \|", _chapter("Attributes"), re.MULTILINE))
    for key, sight in recorded().attributes.items():
        on = rows[spans.shown(key)].split(", ")
        assert [kind for kind in sight.kinds & spans.KINDS.keys() if spans.KINDS[kind].title not in on] == [], key
    resources = re.findall(r"^\| `([^`]+)` \|", _chapter("Resources"), re.MULTILINE)
    assert recorded().resources.keys() <= set(resources)


def test_every_key_is_seen_somewhere() -> None:
    """No attribute is known that no span has: in a recording, or in what is made for those that no recording shows."""
    known = {value for name, value in vars(keys).items() if name.isupper() and name != "SCHEMA_URL"}
    seen = {spans.shown(key) for key in sighted().attributes.keys() | sighted().resources.keys()}
    assert {spans.NAMES.get(key, key) for key in known} == seen
    assert meanings(keys).keys() == {name for name in vars(keys) if name.isupper()}


def test_every_kind_is_seen() -> None:
    """The kinds of the page are those of the recordings, and only a run may hang below somebody else's span."""
    assert sighted().parents.keys() == spans.KINDS.keys()
    assert [kind for kind, parents in sighted().parents.items() if ELSEWHERE in parents] == ["run"]


def test_every_value_is_one_that_the_page_names() -> None:
    """Where the page enumerates an attribute's values, no span has another one; so with results, events and links."""
    seen = sighted().attributes
    for key, values in spans.VALUES.items():
        assert seen[key].values <= set(values), key
    events = {kind.removeprefix("event ") for sight in seen.values() for kind in sight.kinds if kind.startswith("event ")}
    assert events == spans.EVENTS.keys()
    assert seen[keys.LINK].values == spans.LINKS.keys()


def _chapter(title: str) -> str:
    return (REFERENCE / "spans.md").read_text().partition(f"\n## {title}\n")[2].partition("\n## ")[0]


# ---------------------------------------------------------------- log events


def _modules() -> Iterator[ast.Module]:
    """Read the program, but for the table itself."""
    return (ast.parse(path.read_text()) for path in sorted(PROGRAM.rglob("*.py")) if path.name != "events.py")


def test_every_event_happens_and_is_said() -> None:
    """The program names each event somewhere, and each has its meaning."""
    named = {
        node.attr
        for module in _modules()
        for node in ast.walk(module)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "What"
    }
    assert named == {what.name for what in What} == meanings(What).keys()


def test_every_field_is_said() -> None:
    """An event is made with the fields that the table gives it, and with all of them; each field has its meaning."""
    found: dict[What, set[str]] = {what: set() for what in What}
    for module in _modules():
        for function in (node for node in ast.walk(module) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)):
            for node in ast.walk(function):
                match node:
                    case ast.Call(func=ast.Name("Event"), args=[ast.Attribute(ast.Name("What"), name), _, fields]):
                        found[What[name]] |= _keys(fields, function, module)
                    case ast.Call(func=ast.Attribute(attr="_say"), args=[_, ast.Attribute(ast.Name("What"), name), _, fields]):
                        found[What[name]] |= _keys(fields, function, module)
    assert {what: tuple(sorted(names)) for what, names in found.items() if names} == FIELDS
    assert {name for names in FIELDS.values() for name in names} == FIELD_MEANINGS.keys()


def _keys(expression: ast.AST, function: ast.AST, module: ast.Module) -> set[str]:
    """Collect the keys of an expression's dicts, and of those that it names: variables of the function, methods of the module."""
    found: set[str] = set()
    for node in ast.walk(expression):
        match node:
            case ast.Dict(keys=names):
                found |= {one.value for one in names if isinstance(one, ast.Constant) and isinstance(one.value, str)}
            case ast.Call(func=ast.Attribute(attr=name)):
                methods = (one for one in ast.walk(module) if isinstance(one, ast.FunctionDef) and one.name == name)
                found |= {key for method in methods for key in _keys(ast.Module(method.body, []), method, module)}
            case ast.Name(name) if not isinstance(function, ast.Module):
                found |= _assigned(name, function, module)
    return found


def _assigned(name: str, function: ast.AST, module: ast.Module) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(function):
        match node:
            case ast.Assign(targets=[ast.Name(target)], value=value) if target == name:
                found |= _keys(value, ast.Module([], []), module)
            case ast.Assign(targets=[ast.Subscript(ast.Name(target), ast.Constant(str(key)))]) if target == name:
                found.add(key)
    return found


def test_the_line_is_one_that_is_logged() -> None:
    """The example of a line has what every line has."""
    assert log_events.example().startswith('{"time": ')
    assert all(f'"{name}": ' in log_events.example() for name in ("time", "level", "event", "message"))


def test_no_step_is_told_wrong() -> None:
    """The comparison's last but one column: whether a step ran, and whether it was cut off, is what its own script says."""
    steps = [one for path in TRACED for one in comparison.steps_of(path)]
    known = [one for one in steps if (one.recording, one.container) not in KILLED_BEFORE_FIRST_LINE]
    assert [one for one in known if comparison.is_wrong(one)] == []
