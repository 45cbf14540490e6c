"""What is a span, before it is bytes? Frozen values with everything that reaches a backend."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

AttributeValue = str | int | bool | tuple[str, ...]
Attributes = tuple[tuple[str, AttributeValue], ...]
"""Attributes sorted by key; none is empty."""

TEXT_LIMIT_BYTES = 1_024


class SpanKind(IntEnum):
    """OTLP's numbers for the kinds that are used."""

    INTERNAL = 1
    SERVER = 2


class Slot(NamedTuple):
    """The key under which a span is acknowledged: the same fact has one slot, from whatever source it was told."""

    kind: str
    owner_uid: str
    pod_name: str = ""
    pod_uid: str = ""
    """Empty if the Pod was never seen."""
    name: str = ""

    @property
    def without_pod_uid(self) -> "Slot":
        """The slot that the same fact has when its Pod is not known."""
        return self._replace(pod_uid="")


@dataclass(frozen=True, slots=True)
class SpanEvent:
    """Something that happened during a span."""

    name: str
    at_ns: int
    attributes: Attributes = ()


@dataclass(frozen=True, slots=True)
class SpanLink:
    """A relation to a span of any trace."""

    trace_id: bytes
    span_id: bytes
    trace_state: str
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class SpanRecord:
    """One span. Times are Unix nanoseconds."""

    slot: Slot
    trace_id: bytes
    span_id: bytes
    parent_span_id: bytes
    """Empty for a root."""
    has_remote_parent: bool
    trace_state: str
    name: str
    kind: SpanKind
    start_ns: int
    end_ns: int
    attributes: Attributes
    resource: Attributes
    events: tuple[SpanEvent, ...] = ()
    links: tuple[SpanLink, ...] = ()
    is_error: bool = False
    description: str = ""

    def attribute(self, key: str) -> AttributeValue | None:
        """Look up one attribute."""
        return next((value for known, value in self.attributes if known == key), None)


def attributes(values: Mapping[str, AttributeValue | None]) -> Attributes:
    """Sort attributes by the bytes of their keys, leave out what is absent or empty, cut what is too long."""
    kept = []
    for key in sorted(values):
        value = values[key]
        if isinstance(value, str):
            value = cut(value)
        elif isinstance(value, tuple):
            value = tuple(cut(one) for one in value if one)
        if value is not None and value not in ("", ()):
            kept.append((key, value))
    return tuple(kept)


def cut(text: str) -> str:
    """Keep at most 1,024 bytes of UTF-8, whole characters; what UTF-8 cannot say becomes a question mark."""
    if len(text) * 4 <= TEXT_LIMIT_BYTES and text.isascii():
        return text
    return text.encode("utf-8", "replace")[:TEXT_LIMIT_BYTES].decode("utf-8", "ignore")


def first_line(text: str) -> str:
    """Keep the first line of a message, with spaces for control characters, cut as `cut` does."""
    line = text.strip().splitlines()[0] if text.strip() else ""
    return cut("".join(" " if _is_control(character) else character for character in line))


def _is_control(character: str) -> bool:
    return character < " " or "\x7f" <= character <= "\x9f"
