"""What can be observed? A reading of an object, its end, and a complete list."""

from dataclasses import dataclass

from tracer.tekton.decode import Object
from tracer.tekton.names import Kind


@dataclass(frozen=True, slots=True)
class Seen:
    """A reading of an object that exists."""

    object: Object


@dataclass(frozen=True, slots=True)
class Gone:
    """An object that no longer exists, as it was last known."""

    object: Object


@dataclass(frozen=True, slots=True)
class Vanished:
    """An object that no longer exists; nobody said how it was last."""

    kind: Kind
    uid: str


@dataclass(frozen=True, slots=True)
class Synced:
    """A list of a kind was told whole: what was not in it does not exist, and each that vanished was told before."""

    kind: Kind
    begun_ns: int
    """When the list was begun, Unix nanoseconds."""


Observation = Seen | Gone | Vanished | Synced
