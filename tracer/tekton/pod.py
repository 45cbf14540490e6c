"""What does a Pod say? The fields we use and no others."""

from typing import Annotated

import msgspec

from tracer.tekton import names
from tracer.tekton.meta import Condition, ObjectMeta
from tracer.tekton.termination import TerminationMessage
from tracer.tekton.times import Time

ExitCode = Annotated[int, msgspec.Meta(ge=-(2**31), lt=2**31)]


class StateWaiting(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A container that does not run yet."""

    reason: str = ""


class StateRunning(msgspec.Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """A container that runs. Its start is the container's, seconds before the step's own."""

    started_at: Time | None = None


class MessageText:
    """The place of a termination message's text. The text itself may hold a user's results and is not kept."""

    __slots__ = ("message",)

    def __init__(self, message: TerminationMessage | None) -> None:
        """Hold what was read out of the text."""
        self.message = message

    def __eq__(self, other: object) -> bool:
        """Compare what was read."""
        return isinstance(other, MessageText) and self.message == other.message

    def __hash__(self) -> int:
        """Hash what was read."""
        return hash(self.message)


class StateTerminated(msgspec.Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """A container that ended. Times are cut to the second, and null if the runtime lost the container."""

    exit_code: ExitCode
    reason: str = ""
    started_at: Time | None = None
    finished_at: Time | None = None
    container_id: str = msgspec.field(default="", name="containerID")
    text: MessageText | None = msgspec.field(default=None, name="message")

    @property
    def message(self) -> TerminationMessage | None:
        """The entrypoint's own words, if it left any that can be read."""
        return self.text.message if self.text is not None else None


class ContainerState(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """At most one of the three is set; none means waiting."""

    waiting: StateWaiting | None = None
    running: StateRunning | None = None
    terminated: StateTerminated | None = None


class ContainerStatus(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What the kubelet says of one container."""

    name: str
    state: ContainerState = ContainerState()
    image_id: str = msgspec.field(default="", name="imageID")
    container_id: str = msgspec.field(default="", name="containerID")


class OnError(str):
    """What a step's container does on an error, or nothing: of its arguments only the entrypoint's own `-on_error` is kept."""

    __slots__ = ()


class Container(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One container as the Pod's spec asks for it."""

    name: str
    image: str = ""
    on_error: OnError = msgspec.field(default=OnError(), name="args")


class InitContainer(msgspec.Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """One init container; one with `restartPolicy: Always` is a sidecar."""

    name: str
    image: str = ""
    restart_policy: str = ""


class _FieldRef(msgspec.Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    field_path: str = ""


class _DownwardItem(msgspec.Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    field_ref: _FieldRef | None = None


class _DownwardVolume(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    items: tuple[_DownwardItem, ...] = ()


class Volume(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A volume, of which only the downward API matters: the first step waits for a file in it."""

    downward_api: _DownwardVolume | None = msgspec.field(default=None, name="downwardAPI")


class PodSpec(msgspec.Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """What the Pod should be."""

    containers: tuple[Container, ...] = ()
    init_containers: tuple[InitContainer, ...] = ()
    volumes: tuple[Volume, ...] = ()
    node_name: str = ""
    termination_grace_period_seconds: Annotated[int, msgspec.Meta(ge=0, lt=2**31)] | None = None


class PodStatus(msgspec.Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """What the Pod is. Container statuses come sorted by name, not in the order of the spec."""

    reason: str = ""
    conditions: tuple[Condition, ...] = ()
    container_statuses: tuple[ContainerStatus, ...] = ()
    init_container_statuses: tuple[ContainerStatus, ...] = ()


class Pod(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A Pod."""

    metadata: ObjectMeta
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    @property
    def steps(self) -> tuple[Container, ...]:
        """The containers that are steps, in the order in which they run."""
        return tuple(one for one in self.spec.containers if one.name.startswith(names.STEP_PREFIX))

    @property
    def container_states(self) -> dict[str, ContainerStatus]:
        """What the kubelet says of the regular containers, by name."""
        return {status.name: status for status in self.status.container_statuses}

    @property
    def is_gate_open(self) -> bool:
        """Whether the first step was let go: Tekton annotates the Pod as ready once all its containers are up."""
        return self.metadata.annotations.ready == names.READY or not self.has_ready_gate

    @property
    def has_ready_gate(self) -> bool:
        """Whether the first step waits until Tekton annotates the Pod as ready."""
        return any(
            item.field_ref is not None and item.field_ref.field_path == names.READY_FIELD_PATH
            for volume in self.spec.volumes
            if volume.downward_api is not None
            for item in volume.downward_api.items
        )
