"""How do bytes become values? The envelope first, then the object from its raw bytes, by its kind.

Keeps: one malformed object costs nothing but itself; it becomes a value that names the path that failed, never an exception.
Must not know: where the bytes came from, and what the values mean.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TypeVar, cast

import msgspec

from tracer.tekton import names
from tracer.tekton.event import Event
from tracer.tekton.meta import Annotations, Labels, ObjectMeta
from tracer.tekton.names import Kind
from tracer.tekton.pipelinerun import CustomRun, ParameterLength, PipelineRun
from tracer.tekton.pod import MessageText, OnError, Pod
from tracer.tekton.taskrun import TaskRun
from tracer.tekton.termination import parse_termination_message, write_termination_message
from tracer.tekton.times import instant_ns


class Namespace(msgspec.Struct, frozen=True, gc=False):
    """A Namespace; that of the cluster itself gives the cluster its UID."""

    metadata: ObjectMeta


Object = PipelineRun | TaskRun | CustomRun | Pod | Event | Namespace
"""An object of a kind that is read."""

_Struct = TypeVar("_Struct", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True)
class Malformed:
    """An object that cannot be read, and where it failed."""

    kind: str
    path: str
    """Where in the object, such as `$.status.steps[0].terminated`."""
    why: str


@dataclass(frozen=True, slots=True)
class Unread:
    """An object of a kind that is not read."""

    kind: str


@dataclass(frozen=True, slots=True)
class Schema:
    """Which fields are read: those that the types name, and of runs the labels and annotations that are mapped."""

    mapped_keys: frozenset[str]
    decoders: Mapping[Kind, msgspec.json.Decoder[Object]] = field(repr=False, compare=False)


@cache
def schema_of(mapped_keys: frozenset[str]) -> Schema:
    """Say what is read where these labels and annotations of runs are mapped.

    The same keys give the same types: values of types made twice would never be equal.
    """
    labels, annotations = _with_keys(Labels, mapped_keys), _with_keys(Annotations, mapped_keys)
    metadata = _extended(ObjectMeta, ("labels", labels, labels()), ("annotations", annotations, annotations()))
    types = {
        kind: _extended(of_type, ("metadata", metadata)) if kind in names.RUN_KINDS else of_type
        for kind, of_type in _TYPES.items()
    }
    return Schema(mapped_keys, {kind: msgspec.json.Decoder(of_type, dec_hook=_read_hook) for kind, of_type in types.items()})


class _TypeMeta(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    kind: str = ""
    api_version: str = ""


def kind_of(kind: str, api_version: str) -> Kind | None:
    """Say which kind it is that we read; None for every other one.

    Any version of Tekton's group is taken, for the fields that are read are the same in `v1` and `v1beta1`.
    """
    known = _KINDS.get(kind)
    if known is None:
        return None
    if known in names.RUN_KINDS:
        return known if api_version.startswith(f"{names.TEKTON_GROUP}/") else None
    return known if api_version == names.CORE_VERSION else None


def decode(raw: bytes | msgspec.Raw, schema: Schema, kind: Kind | None = None) -> Object | Malformed | Unread:
    """Decode one object. Total: bad bytes of any sort give `Malformed`.

    The items of a list carry no kind of their own: `kind` is the list's.
    """
    if kind is None:
        try:
            name, version = _type_of(raw)
        except (ValueError, msgspec.MsgspecError, RecursionError) as error:
            return _malformed("object", error)
        kind = kind_of(name, version)
        if kind is None:
            return Unread(name)
    try:
        value = schema.decoders[kind].decode(raw)
    except (ValueError, msgspec.MsgspecError, RecursionError) as error:
        return _malformed(kind, error)
    if not isinstance(value, Event) and instant_ns(value.metadata.creation_timestamp) is None:
        return Malformed(kind, "$.metadata.creationTimestamp", "Expected a time from 1970 to 2200")
    return value


def encode(value: Object) -> bytes:
    """Write an object with the fields that are read and no others; decoding that by the same schema gives an equal value."""
    kind = kind_by_type(value)
    version = (
        f"{names.TEKTON_GROUP}/{'v1beta1' if kind is Kind.CUSTOM_RUN else 'v1'}"
        if kind in names.RUN_KINDS
        else names.CORE_VERSION
    )
    head = b'{"apiVersion":"%s","kind":"%s",' % (version.encode(), kind.encode())
    return head + _ENCODER.encode(value)[1:]


def kind_by_type(value: Object) -> Kind:
    """Name the kind of a decoded object."""
    return Kind(type(value).__name__)


def _with_keys(base: type[_Struct], keys: frozenset[str]) -> type[_Struct]:
    """Let a type read further keys; the order of a configuration is not theirs."""
    further = sorted(keys - set(base.__struct_encode_fields__))
    return _extended(
        base, *((f"mapped_{at}", str | None, msgspec.field(default=None, name=key)) for at, key in enumerate(further))
    )


def _extended(base: type[_Struct], *fields: tuple[str, object] | tuple[str, object, object]) -> type[_Struct]:
    made = msgspec.defstruct(
        base.__name__, fields, bases=(base,), module=base.__module__, frozen=True, gc=False, omit_defaults=True
    )
    return cast("type[_Struct]", made)


def _type_of(raw: bytes | msgspec.Raw) -> tuple[str, str]:
    """Find kind and version: they come first as API servers and kubectl write, else the whole object is searched."""
    first = _TYPE_COMES_FIRST.match(memoryview(raw)[:_TYPE_WITHIN_BYTES])
    if first is not None:
        return (first["kind"] or first["kind2"]).decode(), (first["version"] or first["version2"]).decode()
    said = _TYPE_META.decode(raw)
    return said.kind, said.api_version


def _malformed(kind: str, error: Exception) -> Malformed:
    """Keep the path and the reason; neither holds a value of the object."""
    if not isinstance(error, msgspec.ValidationError):
        return Malformed(kind, "$", "Not JSON" if isinstance(error, ValueError | msgspec.MsgspecError) else "Nested too deeply")
    why, _, path = str(error).partition(" - at `")
    return Malformed(kind, path.rstrip("`") or "$", why)


def _read_hook(of_type: type, said: object) -> object:
    """Read what is kept only in part, so that the rest never lives in memory."""
    if of_type is MessageText:
        return MessageText(parse_termination_message(said) if isinstance(said, str) else None)
    if of_type is OnError:
        return _on_error(said)
    return ParameterLength(len(said) if isinstance(said, list) else 1)


def _on_error(said: object) -> OnError:
    """Find the entrypoint's own flag; what stands after `--` is the user's. Source: tektoncd/pipeline pkg/pod/entrypoint.go."""
    words = [word for word in said if isinstance(word, str)] if isinstance(said, list) else []
    own = words[: words.index("--")] if "--" in words else words
    return OnError(own[own.index("-on_error") + 1] if "-on_error" in own[:-1] else "")


def _write_hook(value: object) -> object:
    if isinstance(value, MessageText):
        return write_termination_message(value.message) if value.message is not None else ""
    if isinstance(value, OnError):
        return ["-on_error", str(value), "--"] if value else []
    if isinstance(value, ParameterLength):
        return [""] * value
    raise NotImplementedError(type(value).__name__)


_KINDS = {str(kind): kind for kind in Kind}
_TYPES: dict[Kind, type[Object]] = {
    Kind.PIPELINE_RUN: PipelineRun,
    Kind.TASK_RUN: TaskRun,
    Kind.CUSTOM_RUN: CustomRun,
    Kind.POD: Pod,
    Kind.EVENT: Event,
    Kind.NAMESPACE: Namespace,
}
_TYPE_META = msgspec.json.Decoder(_TypeMeta)
_TYPE_WITHIN_BYTES = 256
_TYPE_COMES_FIRST = re.compile(
    rb'\s*\{\s*(?:"kind"\s*:\s*"(?P<kind>\w+)"\s*,\s*"apiVersion"\s*:\s*"(?P<version>[\w./-]+)"'
    rb'|"apiVersion"\s*:\s*"(?P<version2>[\w./-]+)"\s*,\s*"kind"\s*:\s*"(?P<kind2>\w+)")'
)
_ENCODER = msgspec.json.Encoder(enc_hook=_write_hook)
