"""What the pages say can be done: their commands run, or at least are ones; files can be used, links lead somewhere."""

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from tests.asked import WITHIN_S, kubeconfig
from tests.kit import HERE, Json
from tests.markdown import PAGES, ROOT, anchors, blocks, code_spans, commands, languages, lines, links
from tracer import __version__
from tracer.cli import cli
from tracer.config import Config
from tracer.demo.apiserver import ApiServer
from tracer.demo.receiver import Receiver
from tracer.events import What
from tracer.settings import load

DEPLOY = ROOT / "deploy"
SCHEMA: Json = json.loads((DEPLOY / "chart" / "values.schema.json").read_text())
VALUES: Json = yaml.safe_load((DEPLOY / "chart" / "values.yaml").read_text())
INSTALLED = {
    f"{one['kind']}/{one['metadata']['name']}".lower() for one in yaml.safe_load_all((DEPLOY / "install.yaml").read_text())
}
IMAGE = f"registry.example/tracer:{__version__}"
"""What the chart pulls where it is told the repository that the pages name."""
MAKEFILE = (ROOT / "Makefile").read_text()
OURS = ("tracer", "make", "helm", "kubectl")
"""The programs whose commands are looked at in the midst of a text, too."""
ANYBODYS = {
    *(".", "source", "cd", "echo", "eval", "exit", "export", "for", "do", "done", "while", "sleep", "test", "true", "wait"),
    *("cat", "cp", "curl", "git", "head", "jq", "kill", "less", "ls", "mkdir", "mv", "rm", "sed", "sort", "tail", "tee", "wc"),
    *("apt", "brew", "kind", "minikube", "oc", "pip", "promtool", "sudo", "tar", "tkn", "xdg-open"),
}
"""The programs of which only the files of ours that they name are looked at."""
LANGUAGES = {"sh", "yaml", "json", "promql", "text"}
by_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


# ---------------------------------------------------------------- every command is one


@by_page
def test_the_commands_are_ones(page: Path) -> None:
    """Each command names flags, targets, values, objects and files that there are."""
    for line in lines(page):
        for words in commands(line):
            assert (fault := fault_of(words, page)) is None, f"{line}: {fault}"
    for text in code_spans(page):
        if text.split(" ")[0] in OURS and " " in text:
            for words in commands(text):
                fault = fault_of(words, page, is_whole=False) if words[0] in OURS else None
                assert fault is None, f"{text}: {fault}"


def fault_of(words: list[str], page: Path, *, is_whole: bool = True) -> str | None:
    """Say what is wrong with a command; None if nothing is. One that is not whole may lack arguments."""
    program, *rest = words
    paths = [path for word in words for path in word.rpartition("=")[2].split()]  # also of --file=deploy/x
    missing = [path for path in paths if is_ours(path) and not (ROOT / path).exists()]
    if missing:
        return f"there is no {missing[0]}"
    match program.removeprefix(".venv/bin/"):
        case "tracer":
            return fault_of_ours(rest, is_whole=is_whole)
        case "make":
            return fault_of_make(rest)
        case "helm":
            return fault_of_values(rest) or fault_of_files(rest, page, {"-f", "--values"})
        case "kubectl":
            if "--" in rest:
                return fault_of(rest[rest.index("--") + 1 :], page)
            unknown = [word for word in rest if re.fullmatch(r"[a-z]+/tracer[\w-]*", word) and word not in INSTALLED]
            return f"nothing installs {unknown[0]}" if unknown else fault_of_files(rest, page, {"-f", "--filename"})
        case "grep":
            return fault_of_events(rest[-1])
        case "docker" | "podman" | "buildah":
            return fault_of_image(rest)
        case "python" | "python3":
            module = rest[rest.index("-m") + 1].replace(".", "/") if "-m" in rest else ""
            is_there = any((ROOT / f"{module}{end}").exists() for end in (".py", "/__main__.py"))
            return None if is_there or not is_ours(f"{module}/") else f"there is no module {module}"
        case other:
            return None if other in ANYBODYS or "/" in other else f"{other} is no program that this test knows"


def is_ours(path: str) -> bool:
    """Say whether a path is one of the repository's."""
    return bool(re.match(r"\.?/?(deploy|docs|tests|tracer|benchmarks|requirements)/[\w./-]*", path))


def parsed(words: list[str]) -> click.Context:
    """Let click read a command line without doing what it says. Raises click's own errors, and Exit for --help."""
    top = cli.make_context("tracer", [], resilient_parsing=True)
    if not words or words[0].startswith("-"):
        return cli.make_context("tracer", list(words))
    if words[0] not in cli.commands:
        raise click.UsageError(f"there is no command {words[0]}")
    return cli.commands[words[0]].make_context(words[0], words[1:], parent=top)


def fault_of_ours(words: list[str], *, is_whole: bool = True) -> str | None:
    """Say what is wrong with a command line of tracer's."""
    try:
        parsed(words)
    except click.exceptions.Exit:
        return None
    except click.MissingParameter as error:
        return error.format_message() if is_whole else None
    except click.BadOptionUsage as error:
        return error.format_message() if is_whole or error.option_name != words[-1] else None
    except click.UsageError as error:
        return error.format_message()
    return None


def fault_of_make(words: list[str]) -> str | None:
    """Say which target or variable the Makefile does not have."""
    for word in words:
        name, equals, _ = word.partition("=")
        if not re.search(rf"\$\(({name})\)" if equals else rf"^{name}:", MAKEFILE, re.MULTILINE):
            return f"the Makefile has no {name}"
    return None


def fault_of_events(pattern: str) -> str | None:
    """Say which event is looked for that is never logged; other words are not looked at."""
    parts = pattern.split("|") if re.fullmatch(r"[a-z]+_[a-z_|]*", pattern) else []
    never = [part for part in parts if not any(what.startswith(part) for what in What)]
    return f"no event begins with {never[0]}" if never else None


def fault_of_image(words: list[str]) -> str | None:
    """Say which image of ours is none that the chart pulls, or what is wrong with the command line that one is run with."""
    images = [word for word in words if re.match(r"(registry\.example/)?tracer(:|@|$)", word)]
    if others := [image for image in images if image != IMAGE]:
        return f"the chart pulls {IMAGE}, and not {others[0]}"
    return fault_of_ours(words[words.index(IMAGE) + 1 :]) if words[0] == "run" and images else None


def fault_of_values(words: list[str]) -> str | None:
    """Say which value the chart does not have."""
    for flag, given in pairwise(words):
        for pair in given.split(",") if flag in {"--set", "--set-string"} else ():
            inner = SCHEMA
            for part in pair.partition("=")[0].split("."):
                if "properties" not in inner:
                    break
                if (name := part.partition("[")[0]) not in inner["properties"]:
                    return f"the chart has no value {pair}"
                inner = inner["properties"][name]
    return None


def fault_of_files(words: list[str], page: Path, flags: set[str]) -> str | None:
    """Say which file is read that neither is there nor is named by the text, as one that the reader writes is."""
    for flag, name in pairwise(words):
        is_written = name == "-" or page.read_text().count(name) > 1
        if flag in flags and not (ROOT / name).exists() and not is_written:
            return f"there is no {name}, and the text does not say what is in it"
    return None


# ---------------------------------------------------------------- what can be run here is run


NEEDS_MORE = {"namespaces", "kubeconfig", "context", "config_file", "watch_namespaces", "exporter", "jaeger_endpoint"}
"""What names something of the reader's: a command with it is not run."""


@dataclass(frozen=True, slots=True)
class Runnable:
    """A command of tracer's that needs nothing but a cluster and a backend on loopback."""

    name: str
    words: tuple[str, ...]
    reads: tuple[str, ...]
    """The recordings that it reads."""
    goes_on: bool
    sends: bool
    reads_list: bool


def runnable(line: str) -> Runnable | None:
    """Say how a line is run; None if it is not, because it is not tracer's or names what only the reader has."""
    found = [words for words in commands(line) if words[0] == "tracer" and len(words) > 1 and not words[1].startswith("-")]
    if not found or "--help" in found[0]:
        return None
    words = found[0][1:]
    params = parsed(words).params
    given = {name for name, value in params.items() if value not in {None, ()} and value is not False}
    is_of_a_run = words[0] == "explain" and params["run"] is not None
    if words[0] == "demo" or given & NEEDS_MORE or (is_of_a_run and params["path"] is None):
        return None  # the demonstration is played in test_cli.py
    reads = [path for path in [*params.get("paths", ()), params.get("path")] if path not in {None, "-"}]
    is_dry = bool(params.get("dry_run") or params.get("no_send"))
    goes_on = words[0] in {"run", "record"} and not params.get("once")
    sends = words[0] in {"replay", "run", "doctor"} and not is_dry
    return Runnable(words[0], tuple(words), tuple(reads), goes_on, sends, "kubectl get" in line)


@pytest.mark.parametrize("page", [page for page in PAGES if any(map(runnable, lines(page)))], ids=lambda page: page.name)
def test_the_commands_do_something(page: Path, tmp_path: Path) -> None:
    """What a page shows runs, line after line in one folder; Ctrl-C ends what goes on."""
    for name in ("deploy", "tests"):
        (tmp_path / name).symlink_to(ROOT / name)
    for line in lines(page):
        one = runnable(line)
        if one is not None and all((tmp_path / path).exists() for path in one.reads):
            code, out, error, has_sent = asyncio.run(run(one, tmp_path))
            assert (code, bool(out or error), b"Traceback" in error) == (0, True, False), f"{line}: {error.decode()}"
            assert has_sent == one.sends, line


async def run(one: Runnable, folder: Path) -> tuple[int | None, bytes, bytes, bool]:
    """Run a command beside a cluster and a backend on loopback: its exit code, what it printed, whether it sent a span."""
    success, printed = HERE / "recordings" / "success", folder / "printed"

    def has_begun(receiver: Receiver) -> bool:
        return bool(receiver.spans) or any(path.stat().st_size for path in [printed, *folder.glob("*/watch.jsonl")])

    async with ApiServer() as server, Receiver() as receiver:
        await server.play(success)
        more = ["--otlp-endpoint", receiver.url] if one.name in {"replay", "run", "doctor"} else []
        more += ["--listen", "127.0.0.1:0"] if one.name == "run" else []
        with printed.open("wb") as out:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tracer", *one.words, *more),
                cwd=folder,
                env={"PATH": os.defpath, "PYTHONPATH": str(ROOT), "KUBECONFIG": str(kubeconfig(folder, server.url, "default"))},
                stdin=asyncio.subprocess.PIPE,
                stdout=out,
                stderr=asyncio.subprocess.PIPE,
            )
        if one.goes_on:
            async with asyncio.timeout(WITHIN_S):
                while not has_begun(receiver):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)  # another process: nothing here tells when
            process.send_signal(signal.SIGINT)
        _, error = await process.communicate((success / "objects.json").read_bytes() if one.reads_list else b"")
        return process.returncode, printed.read_bytes(), error, bool(receiver.spans)


# ---------------------------------------------------------------- files


@by_page
def test_every_block_says_what_it_is(page: Path) -> None:
    """None is in a language that is not looked at by mistake, such as a shell by another name."""
    assert languages(page) <= LANGUAGES


@by_page
def test_the_files_can_be_used(page: Path) -> None:
    """Each example in YAML parses; settings are settings, and values are ones that the chart has."""
    for block in blocks(page, "yaml"):
        for said in yaml.safe_load_all(block):
            if not isinstance(said, dict):
                continue
            if said.keys() & set(Config.__struct_fields__):
                assert load({}, {}, (page.name, block.encode())).sources
            elif said.keys() & VALUES.keys():
                assert list(unknown_values(said, SCHEMA)) == []
    for block in blocks(page, "json"):
        json.loads(block)


def unknown_values(said: Any, schema: Json, at: str = "") -> Iterable[str]:  # noqa: ANN401 - whatever YAML holds
    """Name the values that the chart does not have."""
    if not isinstance(said, dict) or "properties" not in schema:
        return
    for name, value in said.items():
        if name not in schema["properties"]:
            yield f"{at}{name}"
        else:
            yield from unknown_values(value, schema["properties"][name], f"{at}{name}.")


# ---------------------------------------------------------------- links


@by_page
def test_links_lead_somewhere(page: Path) -> None:
    """Every file that a page leads to is there, with the heading that the link names."""
    for link in links(page):
        target = (page.parent / link.path).resolve() if link.path else page
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        assert not link.anchor or link.anchor in anchors(target), link


def test_every_page_is_reached() -> None:
    """Whoever begins at the README or at the table of contents comes to every page of the documentation."""
    reached: set[Path] = set()
    ahead = [ROOT / "README.md", ROOT / "docs" / "README.md"]
    while ahead:
        page = ahead.pop()
        if page not in reached:
            reached.add(page)
            ahead += [(page.parent / link.path).resolve() for link in links(page) if link.path.endswith(".md")]
    assert [str(page.relative_to(ROOT)) for page in PAGES if page.is_relative_to(ROOT / "docs") and page not in reached] == []


def test_the_rooms_are_there() -> None:
    """Every module that the architecture names is there."""
    rooms = re.findall(
        r"`((?:kube|tekton|lifecycle|telemetry|delivery|explain|demo)/[\w.]*)`", (ROOT / "docs/architecture.md").read_text()
    )
    assert rooms
    assert [room for room in rooms if not (ROOT / "tracer" / room).exists()] == []
