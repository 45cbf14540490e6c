"""Which cluster is it? The UID of its own namespace stands for it.

Must not know: what it is used for.
Source: OpenTelemetry semantic conventions, `k8s.cluster.uid`.
"""

from http import HTTPStatus

from tracer.backoff import watch_jitter_s
from tracer.clock import Clock
from tracer.errors import InputError
from tracer.events import Event, Report, What
from tracer.kube.reflector import Api
from tracer.tekton.decode import Namespace, Schema, decode
from tracer.tekton.names import CLUSTER_NAMESPACE, Kind
from tracer.transport import Answer, Transport

_PATH = f"/api/v1/namespaces/{CLUSTER_NAMESPACE}"
_TIMEOUT_S = 10.0


async def read_cluster(api: Api, transport: Transport, clock: Clock, schema: Schema, report: Report) -> Namespace | None:
    """Ask until there is an answer; None if it may not be known. Each failure is reported once it has happened."""
    failures, is_refused, was_in_trouble = 0, False, False
    while True:
        try:
            answer = await transport.get(api.url + _PATH, api.headers(is_refused=is_refused), _TIMEOUT_S)
            why = f"answered {answer.status}" if isinstance(answer, Answer) else answer.why
            reason = f"http_{answer.status}" if isinstance(answer, Answer) else str(answer.reason)
        except InputError as error:
            answer, why, reason = None, f"was not asked: {str(error).rstrip('.')}", "credentials"
        status = answer.status if isinstance(answer, Answer) else 0
        if isinstance(answer, Answer) and status in {HTTPStatus.OK, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND}:
            if was_in_trouble:
                report(Event(What.WATCH_RECOVERED, f"{api.url} answers."))
            value = decode(answer.body, schema, Kind.NAMESPACE) if status == HTTPStatus.OK else None
            if isinstance(value, Namespace):
                return value
            sentence = (
                f"The cluster's UID is not told: the namespace {CLUSTER_NAMESPACE} may not be read ({status}); grant get on it."
            )
            report(Event(What.CLUSTER_UNKNOWN, sentence))
            return None
        is_refused, was_in_trouble, failures = status == HTTPStatus.UNAUTHORIZED, True, failures + 1
        if is_refused:
            why, reason = "does not know who asks (401): renew the token, or log in again", "unauthorized"
        report(Event(What.WATCH_FAILED, f"{api.url} {why}.", {"kind": Kind.NAMESPACE, "reason": reason}))
        await clock.sleep(watch_jitter_s(failures))
