"""What do all objects share? Metadata, owners, conditions: the fields we use and no others."""

from typing import Annotated

import msgspec

from tracer.tekton import names
from tracer.tekton.times import Time, instant_ns

Text = Annotated[str, msgspec.Meta(min_length=1)]
"""A text that must not be empty."""


class Labels(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The labels that are read, of runs beside those that are mapped (`decode.schema_of`)."""

    pipeline: str | None = msgspec.field(default=None, name=names.LABEL_PIPELINE)
    pipeline_task: str | None = msgspec.field(default=None, name=names.LABEL_PIPELINE_TASK)
    task: str | None = msgspec.field(default=None, name=names.LABEL_TASK)
    member_of: str | None = msgspec.field(default=None, name=names.LABEL_MEMBER_OF)


class Annotations(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The annotations that are read, of runs beside those that are mapped (`decode.schema_of`).

    Every other one may hold anything, a secret too, and never reaches us.
    """

    pipeline_run_context: str | None = msgspec.field(default=None, name=names.ANNOTATION_PIPELINE_RUN_CONTEXT)
    task_run_context: str | None = msgspec.field(default=None, name=names.ANNOTATION_TASK_RUN_CONTEXT)
    ready: str | None = msgspec.field(default=None, name=names.ANNOTATION_READY)
    cancel: str | None = msgspec.field(default=None, name=names.ANNOTATION_CANCEL)
    service_namespace: str | None = msgspec.field(default=None, name=names.ANNOTATION_SERVICE_NAMESPACE)
    service_version: str | None = msgspec.field(default=None, name=names.ANNOTATION_SERVICE_VERSION)


class OwnerReference(msgspec.Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """Who owns an object; at most one owner is its controller."""

    uid: str
    kind: str = ""
    name: str = ""
    api_version: str = ""
    controller: bool | None = None


class ObjectMeta(msgspec.Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """Metadata of any object. Without a UID, a name and a creation time the object is malformed."""

    uid: Text
    name: Text
    creation_timestamp: Time
    namespace: str = ""
    generate_name: str = ""
    deletion_timestamp: Time | None = None
    deletion_grace_period_seconds: Annotated[int, msgspec.Meta(ge=0, lt=2**31)] | None = None
    labels: Labels = Labels()
    annotations: Annotations = Annotations()
    owner_references: tuple[OwnerReference, ...] = ()

    @property
    def created_ns(self) -> int:
        """When the object was created, cut to the second."""
        return instant_ns(self.creation_timestamp) or 0

    @property
    def controller(self) -> OwnerReference | None:
        """The one owner that controls the object."""
        return next((owner for owner in self.owner_references if owner.controller), None)

    def says(self, key: str) -> str | None:
        """Look up a mapped key: its annotation, else its label; None if neither says anything, or the key is not read."""
        return _value(self.annotations, key) or _value(self.labels, key) or None


def _value(said: Labels | Annotations, key: str) -> str | None:
    fields = dict(zip(said.__struct_encode_fields__, said.__struct_fields__, strict=True))
    return getattr(said, fields[key]) if key in fields else None


class Condition(msgspec.Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """One condition of an object's status."""

    type: str
    status: str
    reason: str = ""
    message: str = ""
    last_transition_time: Time | None = None


def condition(conditions: tuple[Condition, ...], of_type: str) -> Condition | None:
    """Find the condition of a type."""
    return next((one for one in conditions if one.type == of_type), None)


class SpanContext(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A trace context as Tekton keeps it: a map with W3C keys."""

    traceparent: str = ""
    tracestate: str = ""


def read_span_context(annotation: str | None) -> SpanContext | None:
    """Read a trace context from an annotation, where it is a JSON object as a string; None for anything else."""
    if annotation is None:
        return None
    try:
        return _SPAN_CONTEXT.decode(annotation)
    except (ValueError, msgspec.MsgspecError, RecursionError):
        return None


_SPAN_CONTEXT = msgspec.json.Decoder(SpanContext)
