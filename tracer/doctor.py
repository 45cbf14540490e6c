"""Can the work be done here? Asks the API server and the backend what the controller will ask of them, and says what to do.

Keeps: every check is made that can be made; nothing in the cluster is changed; no secret is in what is said.
Must not know: how findings are shown.
Source: design 6, operations 5 and 7.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from urllib.parse import urlencode

from tracer.backends import backend_of
from tracer.clock import Clock
from tracer.delivery.outcome import Delivered, Outcome, Partly, Refused, Rejected, Retry
from tracer.errors import ApiError, BackendError, InputError, RightsError, TracerError
from tracer.kube import questions
from tracer.kube.credentials import InCluster, Kubeconfig
from tracer.kube.named import CHECKPOINT_NAME, LEASE_NAME, own_path
from tracer.kube.questions import READ_CLUSTER
from tracer.kube.wire import Course, Expired, Failed, Feed, Lines, TooLong
from tracer.settings import Settings
from tracer.tekton.decode import Malformed, Schema
from tracer.tekton.names import COORDINATION_VERSION, TEKTON_GROUP, Kind, OwnKind
from tracer.tekton.observation import Synced
from tracer.telemetry.attributes import CLUSTER_UID, SERVICE_NAME
from tracer.telemetry.records import Slot, SpanKind, SpanRecord
from tracer.transport import Answer, NoAnswer, Reason, Transport, clock_offset_s, without_credentials

ASK_S = 10.0
WATCH_S = 15.0
CLOCK_OFFSET_S = 5
"""More than this is worth a warning; less costs nothing, since deadlines wait longer."""
_SUCCESSES = {HTTPStatus.OK, HTTPStatus.CREATED}
_NECESSARY = {Kind.PIPELINE_RUN.plural, Kind.TASK_RUN.plural}
_ADDRESS = "--kubeconfig FILE and --context NAME name another"
_SET_CLOCKS = "let both clocks be set by NTP: deadlines compare the cluster's times with ours"
_WITHOUT_STATE = "without the ConfigMap a restart sends again what still exists, without the Lease every replica sends"
_CONFIGURED = "`tracer check` shows what is configured, and by what"


class Check(StrEnum):
    """What is looked at, in this order."""

    API = "api"
    CRDS = "crds"
    RIGHTS = "rights"
    WATCH = "watch"
    STATE = "state"
    BACKEND = "backend"


class State(StrEnum):
    """What a check came to."""

    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found."""

    check: Check
    state: State
    found: str
    remedy: str = ""
    """What to do about it; of what is ok: what would be better. Empty if there is nothing to say."""
    exit_code: int = 0
    """Of a failure."""


Account = InCluster | Kubeconfig


async def diagnose(
    find: Callable[[], Account], settings: Settings, clock: Clock, tell: Callable[[Finding], None], *, sends: bool = True
) -> int:
    """Make every check, and tell each finding when it is there; give 0, or the exit code of the first failure.

    `find` finds the API server, and may raise what `find_api` raises. If it `sends`, a test span goes to the backend.
    """
    exit_code = 0

    def note(finding: Finding) -> None:
        nonlocal exit_code
        exit_code = exit_code or finding.exit_code
        tell(finding)

    await _look_at_cluster(find, settings, clock, note)
    note(await _backend(settings, clock) if sends else Finding(Check.BACKEND, State.SKIPPED, "nothing is sent (--no-send)"))
    return exit_code


async def _look_at_cluster(
    find: Callable[[], Account], settings: Settings, clock: Clock, note: Callable[[Finding], None]
) -> None:
    async with AsyncExitStack() as held:
        try:
            account = find()
            headers = account.headers(is_refused=False)
            transport = await held.enter_async_context(Transport(account.transport, clock))
        except TracerError as error:
            remedy = _ADDRESS if isinstance(error, InputError) else ""
            cluster, api = None, _failed(Check.API, str(error).rstrip("."), remedy, type(error))
        else:
            namespaces = settings.config.watch.namespaces or ("",)
            cluster = _Cluster(account.url, headers, transport, clock, namespaces, account.namespace, settings.spans.schema)
            api = await cluster.api()
        note(api)
        if cluster is None or api.state is not State.OK:
            for check in (Check.CRDS, Check.RIGHTS, Check.WATCH, Check.STATE):
                note(Finding(check, State.SKIPPED, "the API server does not answer us"))
            return
        for look in (cluster.crds, cluster.rights, cluster.watch, cluster.state):
            note(await look())


def _failed(check: Check, found: str, remedy: str, error: type[TracerError]) -> Finding:
    return Finding(check, State.FAILED, found, remedy, error.exit_code)


# ---------------------------------------------------------------- the cluster


@dataclass(frozen=True, slots=True)
class _Cluster:
    """The API server, as one account sees it."""

    url: str
    headers: dict[str, str]
    transport: Transport
    clock: Clock
    namespaces: Sequence[str]
    """An empty one stands for all of them."""
    own_namespace: str
    schema: Schema

    async def api(self) -> Finding:
        """Ask who it is, how long that takes, and what time it has."""
        sent_ns, began_s = self.clock.unix_ns(), self.clock.now_s()
        answer = await self._ask(questions.VERSION)
        received_ns, took = self.clock.unix_ns(), self._since(began_s)
        if isinstance(answer, NoAnswer) or answer.status not in {HTTPStatus.OK, HTTPStatus.FORBIDDEN}:
            return self._refused(Check.API, answer)
        is_told = answer.status == HTTPStatus.OK
        version = questions.server_version(answer.body) if is_told else "of a version that it does not tell us"
        if version is None:
            return _failed(Check.API, f"{self._name} is no API server of Kubernetes", f"mend the address; {_ADDRESS}", ApiError)
        offset_s = clock_offset_s(answer.headers, sent_ns, received_ns)
        found = f"{self._name} is Kubernetes {version}; it answered within {took}, {_clock_words(offset_s)}"
        is_off = offset_s is not None and abs(offset_s) > CLOCK_OFFSET_S
        return Finding(Check.API, State.OK, found, _SET_CLOCKS if is_off else "")

    async def crds(self) -> Finding:
        """Ask which of Tekton's kinds are served."""
        served = []
        for path in (questions.TEKTON_V1, questions.TEKTON_V1BETA1):
            answer = await self._ask(path)
            if isinstance(answer, Answer) and answer.status == HTTPStatus.FORBIDDEN:
                return Finding(Check.CRDS, State.SKIPPED, f"this account may not ask for {path} (403)")
            known = _served(answer)
            if known is None:
                return self._refused(Check.CRDS, answer)
            served.append(known)
        v1, v1beta1 = served
        if missing := _NECESSARY - v1:
            older = f", only those of {TEKTON_GROUP}/v1beta1" if missing <= v1beta1 else ""
            return _failed(
                Check.CRDS,
                f"{self._name} serves no {' and '.join(sorted(missing))} of {TEKTON_GROUP}/v1{older}",
                "install Tekton Pipelines 0.44 or newer",
                ApiError,
            )
        custom = "and customruns too" if Kind.CUSTOM_RUN.plural in v1beta1 else "and no customruns, which few need"
        return Finding(Check.CRDS, State.OK, f"pipelineruns and taskruns are served, {custom}")

    async def rights(self) -> Finding:
        """Ask for each right that watching takes."""
        needed = questions.rights_to_watch(self.namespaces)
        missing = []
        for right in [*needed, *([READ_CLUSTER] if "" in self.namespaces else [])]:
            answer = await self._ask(questions.REVIEWS, questions.review(right))
            is_allowed = _is_allowed(answer)
            if is_allowed is None:
                return self._refused(Check.RIGHTS, answer)
            if not is_allowed:
                missing.append(right)
        if lacking := [right for right in missing if right is not READ_CLUSTER]:
            grant = (
                "grant it with a ClusterRole and a ClusterRoleBinding, or watch less: --watch-namespaces"
                if "" in self.namespaces
                else "grant it with a Role and a RoleBinding in each of the namespaces"
            )
            return _failed(Check.RIGHTS, f"this account may not {questions.in_words(lacking)}", grant, RightsError)
        unnamed = f"grant get on the namespace {READ_CLUSTER.name}: without it spans lack {CLUSTER_UID}" if missing else ""
        return Finding(Check.RIGHTS, State.OK, f"this account may {questions.in_words(needed)}", unnamed)

    async def watch(self) -> Finding:
        """Have a list of Pods streamed up to the bookmark that ends it; where that is not offered, list one and open a watch.

        One namespace is enough: what is allowed in each is asked before.
        """
        course = Course(Feed(Kind.POD, self.namespaces[0]), self.schema)
        began_s = self.clock.now_s()
        try:
            async with asyncio.timeout(WATCH_S):
                failure = await self._follow(course)
        except TimeoutError:
            found = f"{self._name} sent {_pods(course)} within {WATCH_S:g} s, and not the bookmark that ends a list"
            return _failed(Check.WATCH, found, "see whether a proxy in between holds streams back, and try again", ApiError)
        if failure is not None:
            return self._refused(Check.WATCH, failure)
        if not course.can_stream_lists:
            return Finding(Check.WATCH, State.OK, "a watch opens; lists come in pages, for this server does not stream them")
        found = f"a list of {_pods(course)} was streamed to its bookmark within {self._since(began_s)}"
        return Finding(Check.WATCH, State.OK, found)

    # ------------------------------------------------------------ small steps

    async def _follow(self, course: Course) -> Answer | NoAnswer | None:
        """Watch until a list has ended. None if that works; else what came instead."""
        request = course.request(self.clock.unix_ns(), int(WATCH_S))
        lines = Lines()
        url = self._url(request.path, request.query)
        async with aclosing(self.transport.stream(url, self.headers, lambda: 2 * WATCH_S)) as answers:
            async for one in answers:
                if isinstance(one, Answer):
                    course.refused(one.status)
                    return one if course.can_stream_lists else await self._list_and_watch(course.feed)
                if isinstance(one, NoAnswer):
                    return one
                for line in lines.feed(one):
                    for told in (line,) if isinstance(line, TooLong) else course.line(line):
                        match told:
                            case Synced():
                                return None
                            case Failed(status, why):
                                return NoAnswer(Reason.LOST, f"ended the watch with {status}: {why}")
                            case Expired() | Malformed("watch event"):
                                return NoAnswer(Reason.LOST, "sent a watch event that makes no sense")
        return NoAnswer(Reason.LOST, "ended the watch before the bookmark that ends a list")

    async def _list_and_watch(self, feed: Feed) -> Answer | NoAnswer | None:
        """List one object, and open a watch. None if that works; else what came instead."""
        listed = await self._ask(f"{feed.path}?{urlencode({**feed.selectors, 'limit': '1'})}")
        if isinstance(listed, NoAnswer) or listed.status != HTTPStatus.OK:
            return listed
        query = {**feed.selectors, "watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": f"{WATCH_S:.0f}"}
        async with aclosing(self.transport.stream(self._url(feed.path, query), self.headers, lambda: 2 * WATCH_S)) as answers:
            first = await anext(answers)
        return None if isinstance(first, bytes) else first

    async def state(self) -> Finding:
        """Look for the objects that a controller writes to; it goes on without them."""
        where, lacking = f"namespace {self.own_namespace}", []
        for kind, name in ((OwnKind.CONFIG_MAP, CHECKPOINT_NAME), (OwnKind.LEASE, LEASE_NAME)):
            path = own_path(kind, self.own_namespace, name)
            group = COORDINATION_VERSION.partition("/")[0] if kind is OwnKind.LEASE else ""
            for right in questions.rights_to_write(kind.plural, group, self.own_namespace, name):
                reviewed = await self._ask(questions.REVIEWS, questions.review(right))
                is_allowed = _is_allowed(reviewed)
                if is_allowed is None:
                    return self._refused(Check.STATE, reviewed)
                if not is_allowed:
                    lacking.append(f"this account may not {right.verb} the {kind} {name}")
            answer = await self._ask(path)
            if isinstance(answer, Answer) and answer.status == HTTPStatus.NOT_FOUND:
                lacking.append(f"there is no {kind} {name}")
        if lacking:
            mend = f"kubectl apply -n {self.own_namespace} -f deploy/state.yaml, and bind its Role; {_WITHOUT_STATE}"
            return Finding(Check.STATE, State.OK, f"in {where} {', '.join(lacking)}", mend)
        found = f"in {where} the ConfigMap {CHECKPOINT_NAME} and the Lease {LEASE_NAME} can be read and written"
        return Finding(Check.STATE, State.OK, found)

    async def _ask(self, path: str, body: bytes | None = None) -> Answer | NoAnswer:
        if body is None:
            return await self.transport.get(f"{self.url}{path}", self.headers, ASK_S)
        return await self.transport.post(f"{self.url}{path}", body, {**self.headers, "Content-Type": "application/json"}, ASK_S)

    def _url(self, path: str, query: dict[str, str]) -> str:
        return f"{self.url}{path}?{urlencode(query)}"

    def _since(self, began_s: float) -> str:
        return f"{(self.clock.now_s() - began_s) * 1000:.0f} ms"

    @property
    def _name(self) -> str:
        return without_credentials(self.url)

    def _refused(self, check: Check, answer: Answer | NoAnswer) -> Finding:
        """Say what it means that the server did not do what it was asked."""
        match answer:
            case NoAnswer(reason, why):
                mend = "mend how it is reached" if reason is Reason.UNUSABLE else "see that it runs and that this is its address"
                return _failed(check, f"{self._name} {why}", f"{mend}; {_ADDRESS}", ApiError)
        said = questions.why(answer.body)
        match answer.status:
            case HTTPStatus.UNAUTHORIZED:
                found = f"{self._name} does not know who asks (401)"
                return _failed(check, found, f"renew the token, or log in again; {_ADDRESS}", RightsError)
            case HTTPStatus.FORBIDDEN:
                return _failed(check, f"{self._name} does not allow it (403): {said}".rstrip(": "), "grant it", RightsError)
            case status:
                what = " with something that cannot be read" if status in _SUCCESSES else said and f": {said}"
                found = f"{self._name} answered {status}{what}"
                return _failed(check, found, f"see that it is well and that this is its address; {_ADDRESS}", ApiError)


def _pods(course: Course) -> str:
    count = course.events["ADDED"]
    return "1 Pod" if count == 1 else f"{count} Pods"


def _served(answer: Answer | NoAnswer) -> frozenset[str] | None:
    """Read what discovery says; None if it says nothing. A group or a version that is not there is no `Status`, but a 404."""
    if isinstance(answer, NoAnswer) or answer.status not in {HTTPStatus.OK, HTTPStatus.NOT_FOUND}:
        return None
    return questions.resources(answer.body) if answer.status == HTTPStatus.OK else frozenset()


def _is_allowed(answer: Answer | NoAnswer) -> bool | None:
    if isinstance(answer, NoAnswer) or answer.status not in _SUCCESSES:
        return None
    return questions.is_allowed(answer.body)


def _clock_words(offset_s: float | None) -> str:
    if offset_s is None:
        return "and tells no time"
    if not offset_s:
        return "and its clock agrees with ours"
    return f"and its clock is {abs(offset_s):.1f} s {'ahead of' if offset_s > 0 else 'behind'} ours"


# ---------------------------------------------------------------- the backend


async def _backend(settings: Settings, clock: Clock) -> Finding:
    """Send a test span."""
    began_s = clock.now_s()
    try:
        async with Transport(settings.transport, clock) as transport:
            backend = backend_of(settings, transport)
            outcome = await backend.send(backend.encode((_test_span(clock),)), settings.try_timeout_s)
    except InputError as error:
        return _failed(Check.BACKEND, str(error).rstrip("."), _CONFIGURED, InputError)
    took = f"{(clock.now_s() - began_s) * 1000:.0f} ms"
    taken = "Jaeger's Thrift" if settings.config.exporter == "jaeger" else "OTLP"
    return _understood(outcome, f"{settings.endpoint_name} took a test span within {took}", taken)


def _understood(outcome: Outcome, took: str, taken: str) -> Finding:
    match outcome:
        case Delivered(warning):
            return Finding(Check.BACKEND, State.OK, took, warning and f"it says: {warning}")
        case Partly(_, why) | Rejected(why):
            return _failed(Check.BACKEND, f"{why} (a test span)", "ask those who run it why", BackendError)
        case Retry(why):
            return _failed(Check.BACKEND, why, f"see that it runs and takes {taken} over HTTP; {_CONFIGURED}", BackendError)
        case Refused(why):
            return _failed(Check.BACKEND, why, _CONFIGURED, BackendError)


def _test_span(clock: Clock) -> SpanRecord:
    """Make a span that is no run's, so its ids and time may come from chance and from our clock."""
    now_ns = clock.unix_ns()
    return SpanRecord(
        slot=Slot("doctor", ""),
        trace_id=clock.random_bytes(16),
        span_id=clock.random_bytes(8),
        parent_span_id=b"",
        has_remote_parent=False,
        trace_state="",
        name="tracer doctor",
        kind=SpanKind.INTERNAL,
        start_ns=now_ns,
        end_ns=now_ns,
        attributes=(),
        resource=((SERVICE_NAME, "tracer-doctor"),),
    )
