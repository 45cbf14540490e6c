"""Which cluster is it? The UID of its own namespace stands for it.

Must not know: what it is used for.
Source: OpenTelemetry semantic conventions, `k8s.cluster.uid`.
"""

from collections.abc import Callable

from tracer.backoff import watch_jitter_s
from tracer.clock import Clock
from tracer.events import Event, Report, What, sentence
from tracer.kube.named import Found, Missing, NamedObject, Trouble
from tracer.kube.reflector import Api
from tracer.tekton.decode import Namespace, Schema, decode
from tracer.tekton.names import CLUSTER_NAMESPACE, CORE_VERSION, Kind
from tracer.transport import Transport

_PATH = f"/api/{CORE_VERSION}/{Kind.NAMESPACE.plural}/{CLUSTER_NAMESPACE}"
_TIMEOUT_S = 10.0


class ClusterQuestion:
    """Asks for the cluster's own namespace until there is an answer."""

    def __init__(
        self, api: Api, transport: Transport, clock: Clock, schema: Schema, tell: Callable[[Namespace], None], report: Report
    ) -> None:
        """Prepare. `tell` is told the namespace, unless it may not be known."""
        self.is_answered = False
        self._object = NamedObject(api, transport, _PATH)
        self._clock, self._schema = clock, schema
        self._tell, self._report = tell, report
        self._failures = 0

    async def ask(self) -> None:
        """Ask once."""
        match await self._object.read(_TIMEOUT_S):
            case Found(body):
                value = decode(body, self._schema, Kind.NAMESPACE)
                self._answered(value if isinstance(value, Namespace) else None, 200)
            case Missing(status):
                self._answered(None, status)
            case Trouble(reason, why):
                self._failures += 1
                self._report(Event(What.WATCH_FAILED, sentence(why), {"reason": reason}))

    async def ask_on(self) -> None:
        """Ask until it is answered, after waits that grow."""
        while not self.is_answered:
            await self._clock.sleep(watch_jitter_s(max(1, self._failures)))
            await self.ask()

    def _answered(self, value: Namespace | None, status: int) -> None:
        self.is_answered = True
        if value is not None:
            self._tell(value)
        else:
            missing = f"Spans do without k8s.cluster.uid: the Namespace {CLUSTER_NAMESPACE} cannot be read ({status})"
            self._report(Event(What.CLUSTER_UNKNOWN, f"{missing}; grant get on it."))
