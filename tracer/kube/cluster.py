"""Which cluster is it? The UID of its own namespace stands for it.

Must not know: what it is used for.
Source: OpenTelemetry semantic conventions, `k8s.cluster.uid`.
"""

from collections.abc import Callable
from http import HTTPStatus

from tracer.backoff import watch_jitter_s
from tracer.clock import Clock
from tracer.errors import InputError
from tracer.events import Event, Report, What, sentence
from tracer.kube.reflector import UNKNOWN, Api
from tracer.tekton.decode import Namespace, Schema, decode
from tracer.tekton.names import CLUSTER_NAMESPACE, CORE_VERSION, Kind
from tracer.transport import Answer, NoAnswer, Reason, Transport

_PATH = f"/api/{CORE_VERSION}/{Kind.NAMESPACE.plural}/{CLUSTER_NAMESPACE}"
_TIMEOUT_S = 10.0
_MAY_NOT_BE_KNOWN = frozenset({HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND})


class ClusterQuestion:
    """Asks for the cluster's own namespace until there is an answer."""

    def __init__(
        self, api: Api, transport: Transport, clock: Clock, schema: Schema, tell: Callable[[Namespace], None], report: Report
    ) -> None:
        """Prepare. `tell` is told the namespace, unless it may not be known."""
        self.is_answered = False
        self._api, self._transport, self._clock, self._schema = api, transport, clock, schema
        self._tell, self._report = tell, report
        self._failures = 0
        self._is_refused = False

    async def ask(self) -> None:
        """Ask once."""
        answer = await self._get()
        if isinstance(answer, Answer) and answer.status in {HTTPStatus.OK, *_MAY_NOT_BE_KNOWN}:
            self.is_answered = True
            value = decode(answer.body, self._schema, Kind.NAMESPACE) if answer.status == HTTPStatus.OK else None
            if isinstance(value, Namespace):
                self._tell(value)
            else:
                missing = f"Spans do without k8s.cluster.uid: the Namespace {CLUSTER_NAMESPACE} cannot be read ({answer.status})"
                self._report(Event(What.CLUSTER_UNKNOWN, f"{missing}; grant get on it."))
            return
        self._failures += 1
        self._is_refused = isinstance(answer, Answer) and answer.status == HTTPStatus.UNAUTHORIZED
        if self._is_refused:
            why, reason = UNKNOWN, "unauthorized"
        elif isinstance(answer, Answer):
            why, reason = f"answered {answer.status} for its Namespace {CLUSTER_NAMESPACE}", f"http_{answer.status}"
        else:
            why, reason = answer.why, str(answer.reason)
        self._report(Event(What.WATCH_FAILED, sentence(f"{self._api.url} {why}"), {"reason": reason}))

    async def ask_on(self) -> None:
        """Ask until it is answered, after waits that grow."""
        while not self.is_answered:
            await self._clock.sleep(watch_jitter_s(max(1, self._failures)))
            await self.ask()

    async def _get(self) -> Answer | NoAnswer:
        try:
            headers = self._api.headers(is_refused=self._is_refused)
        except InputError as error:
            return NoAnswer(Reason.UNUSABLE, f"was not asked: {str(error).rstrip('.')}")
        return await self._transport.get(self._api.url + _PATH, headers, _TIMEOUT_S)
