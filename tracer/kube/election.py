"""Who leads? What one replica may do with the Lease, by what it has seen of it and when.

Keeps: the age of somebody else's Lease counts from when it was seen to change, on the replica's own clock that only goes forward;
what stands in it of times of day is for people to read. A Lease is written whole, with all that others put into it.
Must not know: how it is read and written, who waits.
Source: operations 2.11; client-go tools/leaderelection/leaderelection.go; KEP 589 (coordination.k8s.io).
"""

from dataclasses import dataclass

import msgspec

from tracer.tekton.times import rfc3339

LEASE_S = 15.0  # so long a silent holder is waited for; this and the next two are client-go's own, so people know them
RENEW_DEADLINE_S = 10.0  # then it stops by itself: a third is left for clocks that differ and for what is on its way
HEAD_START_S = 3.0  # for a warm standby, which sees a change up to a try late, before a newcomer, which knows less
RETRY_S = 2.0  # four more tries before the deadline; who waits asks as often, so that a Lease given back is soon taken
ENDING = "tracer-ending"  # an annotation: the holder's identity, while it ends
_LEAST_S, _MOST_S = 1, 3600  # how long others may ask to be waited for
_MOST_TRANSITIONS = (1 << 31) - 1  # int32


class _Spec(msgspec.Struct, frozen=True, rename="camel"):
    """What a Lease says; every field may be left out."""

    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    lease_transitions: int | None = None
    acquire_time: str | None = None


class _Metadata(msgspec.Struct, frozen=True):
    annotations: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Lease:
    """A Lease as the API server has it."""

    holder: str
    """Empty if nobody holds it."""
    said: bytes
    """What it says of its holder, to see that it changed."""
    held_s: float
    """How long after a change it is held; 0 if nobody holds it."""
    fault: str
    """A clause that says what makes no sense in it; empty if it does."""
    spec: _Spec
    fields: dict[str, msgspec.Raw]
    """Everything that it consists of, of which only `spec` and one annotation are ours."""

    @property
    def is_ending(self) -> bool:
        """Whether its holder says that it was asked to end."""
        return bool(self.holder) and _annotations(self.fields).get(ENDING) == self.holder

    @property
    def is_new(self) -> bool:
        """Whether nobody has ever held it: who gives it back leaves behind when that was."""
        return self.spec == _Spec() and not self.fault


@dataclass(frozen=True, slots=True)
class Sight:
    """A Lease, and since when it is as it is, by the clock of who looks."""

    lease: Lease
    since_s: float
    is_newcomers: bool
    """Whether who looks has seen no leader at its work: begun in the place of one that ends, it knows less than others."""


@dataclass(frozen=True, slots=True)
class Take:
    """Take it, or keep it."""


@dataclass(frozen=True, slots=True)
class StandBy:
    """It is somebody else's, or somebody goes before us."""

    until_s: float
    """When it may be taken, if it has not changed by then."""


_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_SPEC = msgspec.json.Decoder(_Spec | None)
_METADATA = msgspec.json.Decoder(_Metadata)
_UNREADABLE = (ValueError, msgspec.MsgspecError, RecursionError)


def read_lease(body: bytes) -> Lease | None:
    """Read a Lease, however little sense it makes; None for what is no object in JSON."""
    fields = _object(body)
    if fields is None:
        return None
    said = bytes(fields.get("spec", b"null"))
    try:
        spec = _SPEC.decode(said) or _Spec()
    except _UNREADABLE as error:
        return Lease("", said, LEASE_S, f"its spec cannot be read ({error})", _Spec(), fields)
    holder, asked_s = spec.holder_identity or "", spec.lease_duration_seconds
    if holder and (asked_s is None or not _LEAST_S <= asked_s <= _MOST_S):
        return Lease(holder, said, LEASE_S, f"its leaseDurationSeconds is {asked_s}", spec, fields)
    return Lease(holder, said, float(asked_s or 0) if holder else 0.0, "", spec, fields)


def see(previous: Sight | None, lease: Lease, now_s: float) -> Sight:
    """Note what was read just now: its age begins anew if it says anything else than before.

    For a newcomer it begins a little later.
    """
    if previous is None:
        is_newcomers = not lease.is_new
    elif previous.lease.said == lease.said:
        return Sight(lease, previous.since_s, previous.is_newcomers)
    else:
        is_newcomers = previous.is_newcomers and (lease.is_ending or not lease.holder)
    return Sight(lease, now_s + HEAD_START_S if is_newcomers else now_s, is_newcomers)


def decide(sight: Sight, me: str, now_s: float) -> Take | StandBy:
    """Say what to do with the Lease: it is ours already, nobody's, somebody's, or that of somebody who has fallen silent."""
    until_s = sight.since_s + sight.lease.held_s
    return Take() if sight.lease.holder == me or now_s >= until_s else StandBy(until_s)


def leads_until_s(asked_s: float) -> float:
    """Say until when one leads whose request to take or keep the Lease began at a time, and was granted."""
    return asked_s + RENEW_DEADLINE_S


def held_by(lease: Lease, me: str, unix_ns: int, *, is_ending: bool = False) -> bytes:
    """Write the Lease with us as its holder, taken or kept at a time of day; whether we are ending stands in it, too."""
    acquired, count = lease.spec.acquire_time, lease.spec.lease_transitions or 0
    if lease.holder != me:
        acquired, count = None, count + 1 if 0 <= count < _MOST_TRANSITIONS else 1
    return _written(lease, me, LEASE_S, unix_ns, acquired, count, is_ending=is_ending)


def given_back(lease: Lease, unix_ns: int) -> bytes:
    """Write our Lease with nobody as its holder."""
    return _written(lease, "", 1, unix_ns, None, lease.spec.lease_transitions or 0)


def _written(
    lease: Lease, holder: str, for_s: float, unix_ns: int, acquired: str | None, transitions: int, *, is_ending: bool = False
) -> bytes:
    now = f"{rfc3339(unix_ns)[:-1]}.{unix_ns // 1_000 % 1_000_000:06}Z"  # a MicroTime
    ours = {
        "holderIdentity": holder,
        "leaseDurationSeconds": int(for_s),  # the API server refuses 0
        "acquireTime": acquired or now,
        "renewTime": now,
        "leaseTransitions": transitions,
    }
    return msgspec.json.encode(
        {**lease.fields, "metadata": _noted(lease, holder if is_ending else ""), "spec": {**(_object(lease.said) or {}), **ours}}
    )


def _noted(lease: Lease, ending: str) -> dict[str, object]:
    """Give the metadata with the note of who is ending; nobody if that is empty."""
    metadata: dict[str, object] = {**(_object(lease.fields.get("metadata", b"{}")) or {})}
    annotations = _annotations(lease.fields)
    if ending or ENDING in annotations:
        others = {key: value for key, value in annotations.items() if key != ENDING}
        metadata["annotations"] = {**others, ENDING: ending} if ending else others
    return metadata


def _annotations(fields: dict[str, msgspec.Raw]) -> dict[str, str]:
    try:
        return _METADATA.decode(fields.get("metadata", b"{}")).annotations or {}
    except _UNREADABLE:
        return {}


def _object(text: bytes) -> dict[str, msgspec.Raw] | None:
    try:
        return _FIELDS.decode(text)
    except _UNREADABLE:
        return None
