"""What does a recording say, in which order? Watch events as lines, or whatever `kubectl get -o json|yaml` prints.

Keeps: a line or an object that cannot be read costs nothing but itself; memory holds one line, or one file of objects.
Must not know: what the objects mean.
"""

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import msgspec

from tracer.documents import without_lone_surrogates, yaml_documents
from tracer.errors import InputError
from tracer.kube.writing import Writer
from tracer.tekton.decode import Malformed, Object, Schema, Unread, decode
from tracer.tekton.names import Kind
from tracer.tekton.observation import Gone, Seen
from tracer.tekton.times import SECOND_NS

WATCH_FILE, OBJECTS_FILE = "watch.jsonl", "objects.json"
STDIN = Path("-")
_FIRST_LINE_LIMIT_BYTES = 64 << 20  # a watch event is one object, and no object is larger than a request to etcd by far
_LONGEST_RECORDING_S = 1e10
_LONGEST_NAME = 200
_GZIP = b"\x1f\x8b"

Progress = Callable[[int], None]
"""Told how many bytes were read since the last time."""


@dataclass(frozen=True, slots=True)
class Fact:
    """An object that was seen or is gone."""

    at_ns: int | None
    """When it arrived, Unix nanoseconds; None in a file of objects, where nothing has an order."""
    observation: Seen | Gone


@dataclass(frozen=True, slots=True)
class HalfLine:
    """The last line of a recording that was cut off while it was written."""

    number: int


Reading = Fact | Malformed | Unread | HalfLine


class WatchEvent(msgspec.Struct):
    """The envelope of a watch event; its object is decoded by itself, so that a malformed one costs nothing else."""

    type: str
    object: msgspec.Raw
    at: float | None = None


class _List(msgspec.Struct):
    items: list[msgspec.Raw] | None
    kind: str = ""


_WATCH_EVENT = msgspec.json.Decoder(WatchEvent)
_LIST = msgspec.json.Decoder(_List)
_BY_KIND = msgspec.json.Decoder(dict[str, _List])
_ANY = msgspec.json.Decoder(dict[str, msgspec.Raw])


def find_recording(path: Path) -> Path:
    """Find the file that a path means: of a folder its `watch.jsonl`, else its `objects.json`.

    Raises InputError if there is none.
    """
    if path == STDIN:
        return path
    try:
        is_folder = path.stat() and path.is_dir()
        found = next((path / name for name in (WATCH_FILE, OBJECTS_FILE) if is_folder and (path / name).exists()), None)
    except FileNotFoundError as error:
        raise InputError(
            f"{path} does not exist; give the path of a recording: a folder, a file, or - for standard input."
        ) from error
    except (OSError, ValueError) as error:
        raise InputError(f"{_name(path)} cannot be read: {_reason(error)}.") from error
    if is_folder and found is None:
        raise InputError(f"{path} holds neither {WATCH_FILE} nor {OBJECTS_FILE}; give a folder with one of them, or a file.")
    return found or path


def size_bytes(path: Path) -> int | None:
    """Say how large a recording is; None for standard input."""
    return None if path == STDIN else path.stat().st_size


def read_recording(path: Path, schema: Schema, progress: Progress = lambda _: None) -> Iterator[Reading]:
    """Read a recording's file in order, of its objects the fields of the schema.

    Raises InputError if it is empty, or holds nothing that can be read as events or objects.
    """
    if path == STDIN and sys.stdin is None:
        raise InputError("Standard input is closed; give a file, or pipe something in.")
    with nullcontext(sys.stdin.buffer) if path == STDIN else _open(path) as file:
        first, number = file.readline(_FIRST_LINE_LIMIT_BYTES), 1
        while first and not first.strip():
            first, number = file.readline(_FIRST_LINE_LIMIT_BYTES), number + 1
        if not first:
            raise InputError(f"{_name(path)} is empty; give watch events, or what `kubectl get -o json` prints.")
        if first.startswith(_GZIP):
            raise InputError(f"{_name(path)} is compressed; unpack it first, for example with `gunzip -c`.")
        if path.suffix == ".jsonl" or not isinstance(decode_watch_event(first), str):
            yield from _read_lines(path, first, number, file, schema, progress)
        else:
            rest = file.read()
            progress(len(first) + len(rest))
            yield from _read_objects(path, first + rest, schema)


def write_recording(readings: Iterable[Reading]) -> Iterator[bytes]:
    """Write what was read with its times as watch events, a line each, as `Writer` does."""
    writer = Writer()
    for reading in readings:
        if isinstance(reading, Fact) and reading.at_ns is not None and (line := writer.line(reading.observation, reading.at_ns)):
            yield line


def _open(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {_reason(error)}.") from error


def _read_lines(path: Path, first: bytes, number: int, file: IO[bytes], schema: Schema, progress: Progress) -> Iterator[Reading]:
    line, begun_at, is_any_good, why = first, number, False, ""
    while line:
        progress(len(line))
        if line.strip():
            event = decode_watch_event(line)
            if not isinstance(event, str):
                is_any_good = True
                yield from _read_event(event, schema)
            elif line.endswith(b"\n") or not is_any_good:
                why = why or event
                yield Malformed("watch event", f"line {number}", event)
            else:
                yield HalfLine(number)
        line = file.readline()
        number += 1
    if not is_any_good:
        raise InputError(f"{_name(path)} is not a recording: line {begun_at} is no watch event ({why}).")


def decode_watch_event(line: bytes) -> WatchEvent | str:
    """Read one line; text says why it is no watch event."""
    try:
        return _WATCH_EVENT.decode(line)
    except msgspec.ValidationError as error:
        return str(error)
    except (ValueError, msgspec.MsgspecError, RecursionError):
        mended = without_lone_surrogates(line)
        return decode_watch_event(mended) if mended != line else "it is not JSON"


def _read_event(event: WatchEvent, schema: Schema) -> Iterator[Reading]:
    if event.type not in {"ADDED", "MODIFIED", "DELETED"}:
        yield Unread(event.type)
        return
    value = decode(event.object, schema)
    at_ns = int(event.at * SECOND_NS) if event.at is not None and 0 <= event.at < _LONGEST_RECORDING_S else None
    yield _fact(value, at_ns, is_gone=event.type == "DELETED")


def _fact(value: Object | Malformed | Unread, at_ns: int | None = None, *, is_gone: bool = False) -> Reading:
    if isinstance(value, Malformed | Unread):
        return value
    return Fact(at_ns, Gone(value) if is_gone else Seen(value))


def _read_objects(path: Path, content: bytes, schema: Schema) -> Iterator[Reading]:
    is_any_read, kinds = False, set()
    for document in _documents(path, content):
        for reading in [document] if isinstance(document, Malformed) else _read_document(document, schema):
            is_any_read = is_any_read or not isinstance(reading, Unread)
            if isinstance(reading, Unread):
                kinds.add(reading.kind or "something without a kind")
            yield reading
    if not is_any_read:
        held = ", ".join(sorted(kinds)[:3]) or "no object"
        raise InputError(
            f"{_name(path)} holds {held}; expected PipelineRuns, TaskRuns, CustomRuns, Pods or Events, as watch events or as "
            "`kubectl get -o json|yaml` prints them."
        )


def _read_document(document: bytes, schema: Schema) -> Iterator[Reading]:
    """Read a list, one object, or lists by kind."""
    try:
        keys = _ANY.decode(document)
        if "items" in keys:
            listed = _LIST.decode(document)
            kind = _kind(listed.kind.removesuffix("List"))
            for item in listed.items or ():
                yield _fact(decode(item, schema, kind))
            if not listed.items:
                yield Unread(f"an empty {listed.kind or 'list'}")
        elif {"type", "object"} <= keys.keys():
            yield from _read_event(_WATCH_EVENT.decode(document), schema)
        elif "kind" not in keys and keys and all(_kind(key) for key in keys):
            for key, listed in _BY_KIND.decode(document).items():
                for item in listed.items or ():
                    yield _fact(decode(item, schema, _kind(key)))
        else:
            yield _fact(decode(document, schema))
    except (ValueError, msgspec.MsgspecError, RecursionError) as error:
        yield Malformed("list", "$", str(error))


def _kind(name: str) -> Kind | None:
    return next((kind for kind in Kind if kind == name), None)


def _documents(path: Path, content: bytes) -> Iterator[bytes | Malformed]:
    """Take a file apart into JSON documents; YAML becomes JSON."""
    if not content.lstrip().startswith((b"{", b"[")):
        yield from _yaml_documents(path, content)
        return
    try:
        _ANY.decode(content)
    except (ValueError, msgspec.MsgspecError, RecursionError):
        yield from _joined_documents(path, without_lone_surrogates(content))
    else:
        yield content


def _joined_documents(path: Path, content: bytes) -> Iterator[bytes | Malformed]:
    """Take JSON documents apart that stand one after another, as `kubectl get --watch` prints them."""
    text, at, decoder = content.decode("utf-8", "replace"), 0, json.JSONDecoder()
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        try:
            document, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            why = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
            raise InputError(f"{_name(path)} is not JSON: {why}.") from error
        for one in document if isinstance(document, list) else [document]:
            yield _as_json(one)


def _yaml_documents(path: Path, content: bytes) -> Iterator[bytes | Malformed]:
    """Take YAML documents apart, as JSON."""
    try:
        for document in yaml_documents(content):
            if isinstance(document, dict):
                yield _as_json(document)
            elif document is not None:
                raise InputError(
                    f"{_name(path)} is neither JSON nor YAML objects; give watch events or what `kubectl get` prints."
                )
    except ValueError as error:
        raise InputError(f"{_name(path)} {error}; give watch events or what `kubectl get` prints.") from error


def _as_json(document: object) -> bytes | Malformed:
    try:
        return msgspec.json.encode(document)
    except (ValueError, TypeError, RecursionError, msgspec.MsgspecError):
        return Malformed("document", "$", "it cannot be said as JSON")


def _reason(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)


def _name(path: Path) -> str:
    return "Standard input" if path == STDIN else str(path)[:_LONGEST_NAME]
