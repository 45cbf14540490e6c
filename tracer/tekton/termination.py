"""What did a step's entrypoint leave behind in its termination message?

Keeps: of the message only `StartedAt`, `ExitCode` and `Reason` live on; results may hold secrets and are dropped here.
Must not know: what the three mean for a step.
Source: tektoncd/pipeline pkg/result/result.go, pkg/termination/parse.go and write.go.
"""

import base64
import binascii
import zlib
from dataclasses import dataclass

import msgspec

from tracer.tekton.times import parse_instant_ns

COMPRESSED_PREFIX = "tknz:"
# The kubelet keeps 12 KiB of messages a Pod; what inflates to more than this is no message but an attack on memory.
INFLATED_LIMIT_BYTES = 1 << 20
# Entries written by the entrypoint itself. Others are a user's results, whose keys a user chooses freely.
_INTERNAL_TYPES = frozenset({3, "3", "InternalTektonResult", None})


@dataclass(frozen=True, slots=True)
class TerminationMessage:
    """The entrypoint's own words, the last one where a key stands twice."""

    started_at: str | None = None
    """When the step's command began, RFC 3339 with milliseconds."""
    exit_code: int | None = None
    """The command's own exit code; written only where `onError: continue` hides it."""
    reason: str | None = None
    """`Skipped`, `TimeoutExceeded` or `Cancelled`."""

    @property
    def started_at_ns(self) -> int | None:
        """When the step's command began, in Unix nanoseconds."""
        return None if self.started_at is None else parse_instant_ns(self.started_at)


class _Entry(msgspec.Struct, frozen=True, gc=False):
    key: str
    value: str
    type: int | str | None = None


_ENTRIES = msgspec.json.Decoder(list[_Entry])


def parse_termination_message(text: str) -> TerminationMessage | None:
    """Read a termination message in any of its forms: JSON, or `tknz:` and unpadded base64 of raw DEFLATE.

    None for text that cannot be read (cut off by the kubelet, plain words, nothing): then there is no message.
    """
    try:
        plain = _inflate(text[len(COMPRESSED_PREFIX) :]) if text.startswith(COMPRESSED_PREFIX) else text.encode()
        entries = _ENTRIES.decode(plain)
    except (ValueError, msgspec.MsgspecError, binascii.Error, zlib.error, RecursionError):
        return None
    said = {entry.key: entry.value for entry in entries if entry.type in _INTERNAL_TYPES}
    return TerminationMessage(
        started_at=_instant(said.get("StartedAt")), exit_code=_exit_code(said.get("ExitCode")), reason=said.get("Reason") or None
    )


def write_termination_message(message: TerminationMessage) -> str:
    """Write the message as the entrypoint does, so that reading it again gives the same value."""
    said = {"StartedAt": message.started_at, "ExitCode": message.exit_code, "Reason": message.reason}
    return msgspec.json.encode([_Entry(key, str(value), 3) for key, value in said.items() if value is not None]).decode()


def _inflate(text: str) -> bytes:
    packed = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    plain = inflater.decompress(packed, INFLATED_LIMIT_BYTES)
    if not inflater.eof:
        raise zlib.error("cut off, or longer than any message")
    return plain


def _instant(text: str | None) -> str | None:
    return text if text is not None and parse_instant_ns(text) is not None else None


def _exit_code(text: str | None) -> int | None:
    try:
        code = int(text or "")
    except ValueError:
        return None
    return code if -(2**31) <= code < 2**31 else None
