"""What do the pages for people hold? Their commands, blocks, links and headings, as GitHub reads them."""

import re
import shlex
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from tests.kit import HERE

ROOT = HERE.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").glob("*.md"), *HERE.rglob("*.md")])
_COMMENT = re.compile(r"(^|\s)#.*")
_BETWEEN_COMMANDS = set("|&;()")
_HERE_DOCUMENT = re.compile(r"<<-?\s*['\"]?(\w+)")


@dataclass(frozen=True, slots=True)
class Link:
    """Where a page leads."""

    path: str
    """Relative to the page; empty for itself."""
    anchor: str


def blocks(page: Path, language: str) -> list[str]:
    """Give the fenced blocks of a language."""
    return [token.content for token in _tokens(page) if token.type == "fence" and token.info == language]


def languages(page: Path) -> set[str]:
    """Name the languages of a page's blocks."""
    return {token.info for token in _tokens(page) if token.type == "fence"}


def lines(page: Path) -> list[str]:
    """Give the command lines that a page shows, each whole: without comments, and without documents that stand below it."""
    return [line for block in blocks(page, "sh") for line in _lines(block)]


def commands(line: str) -> list[list[str]]:
    """Take a command line apart: the words of each command of it and in it, without redirections and assignments."""
    words = shlex.shlex(line, posix=True, punctuation_chars=True)
    words.whitespace_split, words.commenters = True, ""
    found: list[list[str]] = [[]]
    skips = False
    for word in words:
        if word and set(word) <= _BETWEEN_COMMANDS:
            found.append([])
        elif word and set(word) <= set("<>&"):
            skips = True
        elif skips:
            skips = False
        elif found[-1] or not re.match(r"\w+=", word):
            found[-1].append(word)
    return [one for one in found if one]


def code_spans(page: Path) -> list[str]:
    """Give what stands between backticks."""
    return [one.content for token in _tokens(page) for one in token.children or () if one.type == "code_inline"]


def links(page: Path) -> list[Link]:
    """Give the links to what is in the repository."""
    found = []
    for token in _tokens(page):
        for one in token.children or ():
            target = str(one.attrs.get("href", one.attrs.get("src", "")))
            if target and not re.match(r"[a-z]+:", target):
                path, _, anchor = target.partition("#")
                found.append(Link(path, anchor))
    return found


def anchors(page: Path) -> set[str]:
    """Give the names of a page's headings, as a link calls them."""
    times: Counter[str] = Counter()
    found = set()
    tokens = _tokens(page)
    for at, token in enumerate(tokens):
        if token.type == "heading_open":
            text = "".join(one.content for one in tokens[at + 1].children or () if one.type in {"text", "code_inline"})
            name = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
            found.add(f"{name}-{times[name]}" if times[name] else name)
            times[name] += 1
    return found


@cache
def _tokens(page: Path) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(page.read_text())


def _lines(block: str) -> Iterator[str]:
    rest = iter(block.replace("\\\n", " ").splitlines())
    for first in rest:
        line = _COMMENT.sub("", first).strip()
        while line.count("'") % 2 or line.count('"') % 2:
            line += "\n" + next(rest)
        if (document := _HERE_DOCUMENT.search(line)) is not None:
            while next(rest).strip() != document[1]:
                pass
            line = line[: document.start()] + line[document.end() :].lstrip("'\"")
        if line:
            yield line
