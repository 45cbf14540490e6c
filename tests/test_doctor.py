"""What `tracer doctor` finds where everything is well, and where one thing is not: each with what to do and its exit code."""

import asyncio
import base64
import json
import ssl
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme
import yaml
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.asked import own_objects
from tests.kit import HERE, pod
from tests.replies import HTML, rejects, says
from tracer import doctor
from tracer.clock import Clock
from tracer.demo.apiserver import ApiServer
from tracer.demo.faults import ALWAYS, Break, Refuse, Say
from tracer.demo.protocol import Verb
from tracer.demo.receiver import Receiver, Reply
from tracer.doctor import Check, Finding, State, diagnose
from tracer.kube import questions
from tracer.kube.credentials import find_api
from tracer.settings import load
from tracer.tekton.names import Kind
from tracer.transport import clock_offset_s

TOKEN = "a-token-that-is-never-shown"  # noqa: S105 - of a server on loopback
HEADER = "a-key-that-is-never-shown"
AUTHORITY = trustme.CA()
WITHIN_S = 20
Arrange = Callable[[ApiServer], object]


@dataclass
class Diagnosis:
    """What the doctor said."""

    code: int
    findings: list[Finding]
    receiver: Receiver

    def states(self) -> str:
        """Write the states in order, by their first letters."""
        return "".join(finding.state[0] for finding in self.findings)

    def of(self, check: Check) -> tuple[str, str]:
        """Give what was found, and what to do."""
        (finding,) = (finding for finding in self.findings if finding.check is check)
        return finding.found, finding.remedy


def kubeconfig(folder: Path, url: str, authority: trustme.CA | None = None) -> str:
    """Write a kubeconfig with the token; give its path."""
    trust = {"certificate-authority-data": base64.b64encode(authority.cert_pem.bytes()).decode()} if authority else {}
    said = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "clusters": [{"name": "c", "cluster": {"server": url, **trust}}],
        "users": [{"name": "u", "user": {"token": TOKEN}}],
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
    }
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(said))
    return str(path)


def look(
    folder: Path,
    arrange: Arrange = lambda _: None,
    *,
    replies: Iterable[Reply] = (),
    server: ApiServer | None = None,
    authority: trustme.CA | None = None,
    clock: Clock | None = None,
    sends: bool = True,
    **settings: str,
) -> Diagnosis:
    """Have the doctor look at a server that was arranged so, and at a backend that replies so; it never says a secret."""

    async def main() -> Diagnosis:
        findings: list[Finding] = []
        async with server or ApiServer(token=TOKEN) as api, Receiver(replies) as receiver, asyncio.timeout(WITHIN_S):
            arrange(api)
            path = kubeconfig(folder, api.url, authority)
            flags = {"otlp.endpoint": receiver.url, **{name.replace("__", "."): value for name, value in settings.items()}}
            headers = {"OTEL_EXPORTER_OTLP_HEADERS": f"authorization={HEADER}"}
            code = await diagnose(
                lambda: find_api({}, path), load(flags, headers), clock or Clock(), findings.append, sends=sends
            )
            return Diagnosis(code, findings, receiver)

    found = asyncio.run(main())
    assert [finding.check for finding in found.findings] == list(Check)
    assert all(secret not in str(found.findings) for secret in (TOKEN, HEADER))
    assert all(finding.remedy for finding in found.findings if finding.state is State.FAILED)
    return found


def tls_server() -> ApiServer:
    """Make a server whose certificate is the authority's."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("127.0.0.1").configure_cert(context)
    return ApiServer(token=TOKEN, tls=context)


async def run(*arguments: str, home: Path) -> tuple[int, str, str]:
    """Run the program as a user does; give its exit code and what it printed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tracer", "doctor", *arguments),
        env={"PYTHONPATH": str(HERE.parent), "PYTHONIOENCODING": "utf-8", "HOME": str(home)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, error = await process.communicate()
    assert process.returncode is not None
    assert TOKEN not in out.decode() + error.decode()
    return process.returncode, out.decode(), error.decode()


# ---------------------------------------------------------------- where all is well


def test_a_line_says_that_something_is_well(tmp_path: Path) -> None:
    """On the command line: a line a check, exit code 0, and one span at the backend that is nobody's run."""

    async def main() -> Receiver:
        async with ApiServer(token=TOKEN) as api, Receiver() as receiver:
            for content in (pod({}, labels={"tekton.dev/taskRun": "t"}), *own_objects("default")):
                api.put(content)
            path = kubeconfig(tmp_path, api.url)
            code, out, error = await run("--kubeconfig", path, "--otlp-endpoint", receiver.url, home=tmp_path)
            assert (code, error) == (0, "")
            lines = [line.split(maxsplit=2) for line in out.splitlines()]
            assert [line[:2] for line in lines] == [["ok", check] for check in Check]
            said = {check: found for _, check, found in lines}
            assert said["api"].startswith(f"{api.url} is Kubernetes v1.35.0-demo; it answered within ")
            assert said["api"].endswith(" ms, and its clock agrees with ours")
            assert said["crds"] == "pipelineruns and taskruns are served, and customruns too"
            every = "pipelineruns, taskruns, customruns, pods and events in all namespaces"
            assert said["rights"] == f"this account may list and watch {every}"
            assert said["watch"].startswith("a list of 1 Pod was streamed to its bookmark within ")
            both = "the ConfigMap tracer-checkpoint and the Lease tracer-leader"
            assert said["state"] == f"in namespace default {both} can be read and written"
            assert said["backend"].startswith(f"{receiver.url} took a test span within ")
            return receiver

    ((_, body),) = asyncio.run(main()).requests
    (group,) = ExportTraceServiceRequest.FromString(body).resource_spans
    assert [(one.key, one.value.string_value) for one in group.resource.attributes] == [("service.name", "tracer-doctor")]
    assert [span.name for span in group.scope_spans[0].spans] == ["tracer doctor"]


def test_json_is_one_object_a_check(tmp_path: Path) -> None:
    """On the command line: `-o json` says the same, and the exit code is that of the first failure."""

    async def main() -> tuple[int, str, str]:
        async with ApiServer(token=TOKEN) as api:
            api.forbid(Kind.POD, Verb.WATCH)
            path = kubeconfig(tmp_path, api.url)
            return await run("--kubeconfig", path, "--otlp-endpoint", "http://127.0.0.1:1", "-o", "json", home=tmp_path)

    code, out, error = asyncio.run(main())
    assert (code, error) == (4, "")
    said = [json.loads(line) for line in out.splitlines()]
    assert [(one["check"], one["state"], bool(one["remedy"])) for one in said] == [
        ("api", "ok", False),
        ("crds", "ok", False),
        ("rights", "failed", True),
        ("watch", "failed", True),
        ("state", "ok", True),
        ("backend", "failed", True),
    ]


def test_the_backend_is_looked_at_without_a_cluster(tmp_path: Path) -> None:
    """On the command line, where there is no cluster: what needs one is skipped, and what to do stands below what was found."""

    async def main() -> tuple[int, str, str]:
        async with Receiver() as receiver:
            return await run("--otlp-endpoint", receiver.url, home=tmp_path)

    code, out, _ = asyncio.run(main())
    api, *skipped, backend = out.splitlines()
    assert code == 3
    assert api.startswith("failed   api      There is no cluster: not in a Pod, and no kubeconfig; give --kubeconfig FILE")
    checks = ("crds", "rights", "watch", "state")
    assert [line.split(maxsplit=2)[:2] for line in skipped] == [["skipped", check] for check in checks]
    assert backend.startswith("ok       backend  ")


def test_a_kubeconfig_that_cannot_be_used(tmp_path: Path) -> None:
    """On the command line: a flag that names nothing is a mistake of its own, and what to do is indented below a finding."""
    missing = str(tmp_path / "nonesuch")
    code, out, _ = asyncio.run(run("--kubeconfig", missing, "--otlp-endpoint", "http://127.0.0.1:1", home=tmp_path))
    assert code == 2
    assert out.startswith(f"failed   api      The kubeconfig {missing} cannot be used")
    assert out.splitlines()[1] == " " * 18 + "--kubeconfig FILE and --context NAME name another"
    *_, backend, remedy = out.splitlines()
    assert backend == "failed   backend  http://127.0.0.1:1/v1/traces cannot be reached: Connection refused"
    assert remedy.startswith(" " * 18 + "see that it runs")


def test_over_tls(tmp_path: Path) -> None:
    """With the authority that the kubeconfig names everything is well, as without TLS."""
    found = look(tmp_path, server=tls_server(), authority=AUTHORITY)
    assert (found.code, found.states()) == (0, "oooooo")


def test_nothing_is_sent_if_nothing_is_to_be(tmp_path: Path) -> None:
    """With `--no-send` the backend hears nothing."""
    found = look(tmp_path, sends=False)
    assert (found.code, found.states(), found.receiver.requests) == (0, "ooooos", [])


def test_some_namespaces_take_rights_only_there(tmp_path: Path) -> None:
    """Who watches some namespaces needs no right in all of them, and none on the namespace that names the cluster."""

    def arrange(server: ApiServer) -> None:
        for kind in Kind:
            for verb in (Verb.LIST, Verb.WATCH):
                server.forbid(kind, verb, namespace="")
        server.forbid(Kind.NAMESPACE, Verb.GET)

    found = look(tmp_path, arrange, watch__namespaces="ci,release")
    assert (found.code, found.states()) == (0, "oooooo")
    every = "pipelineruns, taskruns, customruns, pods and events in ci and release"
    assert found.of(Check.RIGHTS) == (f"this account may list and watch {every}", "")


def test_what_not_everyone_has_is_no_failure(tmp_path: Path) -> None:
    """No CustomRuns, no WatchList, a cluster that is not named: each is said, and the exit code is 0."""
    server = ApiServer(token=TOKEN, has_watch_list=False)

    def arrange(server: ApiServer) -> None:
        server.uninstall(Kind.CUSTOM_RUN)
        server.forbid(Kind.NAMESPACE, Verb.GET)

    found = look(tmp_path, arrange, server=server)
    assert (found.code, found.states()) == (0, "oooooo")
    assert found.of(Check.CRDS)[0] == "pipelineruns and taskruns are served, and no customruns, which few need"
    assert found.of(Check.RIGHTS)[1] == "grant get on the namespace kube-system: without it spans lack k8s.cluster.uid"
    assert found.of(Check.WATCH)[0] == "a watch opens; lists come in pages, for this server does not stream them"
    missing = "there is no ConfigMap tracer-checkpoint, there is no Lease tracer-leader"
    assert found.of(Check.STATE)[0] == f"in namespace default {missing}"
    assert found.of(Check.STATE)[1].startswith("kubectl apply -n default -f deploy/state.yaml, and bind its Role; without")


@pytest.mark.parametrize(("ahead_s", "said"), [(60, "behind"), (-60, "ahead of")])
def test_a_clock_that_is_off_is_a_warning(tmp_path: Path, ahead_s: int, said: str) -> None:
    """More than 5 seconds between the clocks are told, with what to do."""

    class Off(Clock):
        def unix_ns(self) -> int:
            return super().unix_ns() + ahead_s * 1_000_000_000

    found = look(tmp_path, clock=Off())
    assert found.code == 0
    sentence, remedy = found.of(Check.API)
    assert f"s {said} ours" in sentence
    assert "NTP" in remedy


# ---------------------------------------------------------------- where something is not


def test_no_api_server(tmp_path: Path) -> None:
    """Nobody listens: what needs the cluster is skipped, and the backend is looked at all the same."""

    async def main() -> tuple[int, list[Finding]]:
        async with ApiServer() as server:
            path = kubeconfig(tmp_path, server.url)
        findings: list[Finding] = []
        async with Receiver() as receiver:
            settings = load({"otlp.endpoint": receiver.url}, {})
            return await diagnose(lambda: find_api({}, path), settings, Clock(), findings.append), findings

    code, findings = asyncio.run(main())
    assert (code, "".join(finding.state[0] for finding in findings)) == (3, "fsssso")
    assert findings[0].found.endswith(" cannot be reached: Connection refused")
    assert findings[0].remedy.startswith("see that it runs and that this is its address")


def test_an_authority_that_is_not_the_servers(tmp_path: Path) -> None:
    """A server that is not trusted is not asked anything, and the kubeconfig is named."""
    found = look(tmp_path, server=tls_server(), authority=trustme.CA())
    assert (found.code, found.states()) == (3, "fsssso")
    sentence, remedy = found.of(Check.API)
    assert "is not trusted" in sentence
    assert "certificate-authority in the kubeconfig" in sentence
    assert remedy.startswith("mend how it is reached")


@pytest.mark.parametrize(
    ("arrange", "code", "states", "check", "sentence", "remedy"),
    [
        pytest.param(
            lambda server: setattr(server, "token", "another"),
            *(4, "fsssso", Check.API, "does not know who asks (401)", "renew the token, or log in again"),
            id="401",
        ),
        pytest.param(
            lambda server: server.fail(Say(200, HTML, "text/html")),
            *(3, "fsssso", Check.API, "is no API server of Kubernetes", "mend the address"),
            id="another server",
        ),
        pytest.param(
            lambda server: server.fail(Refuse(503), times=ALWAYS),
            *(3, "fsssso", Check.API, "answered 503: the server is currently unable to handle", "see that it is well"),
            id="503",
        ),
        pytest.param(
            lambda server: [server.uninstall(kind) for kind in (Kind.PIPELINE_RUN, Kind.TASK_RUN, Kind.CUSTOM_RUN)],
            *(3, "ofoooo", Check.CRDS, "serves no pipelineruns and taskruns of tekton.dev/v1", "install Tekton Pipelines 0.44"),
            id="no Tekton",
        ),
        pytest.param(
            lambda server: server.forbid(Kind.TASK_RUN, Verb.LIST),
            *(4, "oofooo", Check.RIGHTS, "may not list taskruns in all namespaces", "with a ClusterRole"),
            id="a right",
        ),
        pytest.param(
            lambda server: [server.forbid(Kind.POD, verb) for verb in (Verb.LIST, Verb.WATCH)],
            *(4, "ooffoo", Check.RIGHTS, "may not list and watch pods in all namespaces", "with a ClusterRole"),
            id="rights",
        ),
        pytest.param(
            lambda server: server.fail(Refuse(403), Kind.POD),
            *(4, "ooofoo", Check.WATCH, 'cannot watch resource "pods" in API group "" at the cluster scope', "grant it"),
            id="a watch that is forbidden all the same",
        ),
        pytest.param(
            lambda server: server.fail(Refuse(410), Kind.POD),
            *(3, "ooofoo", Check.WATCH, "answered 410: too old resource version", "see that it is well"),
            id="a watch that is refused",
        ),
        pytest.param(
            lambda server: server.fail(Break.END, Kind.POD),
            *(3, "ooofoo", Check.WATCH, "ended the watch before the bookmark that ends a list", "see that it runs"),
            id="a watch that ends",
        ),
    ],
)
def test_what_is_wrong_with_the_cluster(
    tmp_path: Path, arrange: Arrange, code: int, states: str, check: Check, sentence: str, remedy: str
) -> None:
    """Each fault has its sentence, its remedy and its exit code, and what does not depend on it is looked at."""
    found = look(tmp_path, arrange)
    assert (found.code, found.states()) == (code, states)
    assert sentence in found.of(check)[0]
    assert remedy in found.of(check)[1]


def test_a_tekton_that_is_too_old(tmp_path: Path) -> None:
    """One that serves its kinds in an older version alone is told apart from none."""
    older = json.dumps({"resources": [{"name": kind.plural} for kind in (Kind.PIPELINE_RUN, Kind.TASK_RUN)]})

    def arrange(server: ApiServer) -> None:
        for said in (Say(200, b'{"gitVersion": "v1.24.0"}'), Say(404), Say(200, older.encode())):
            server.fail(said)

    found = look(tmp_path, arrange)
    assert (found.code, found.states()) == (3, "ofoooo")
    sentence, _ = found.of(Check.CRDS)
    assert sentence.endswith("serves no pipelineruns and taskruns of tekton.dev/v1, only those of tekton.dev/v1beta1")


def test_an_account_that_may_not_ask(tmp_path: Path) -> None:
    """Version and discovery are not needed for the work, so an account that may not see them has failed nothing."""
    found = look(tmp_path, lambda server: server.fail(Refuse(403), times=2))
    assert (found.code, found.states()) == (0, "osoooo")
    assert "of a version that it does not tell us" in found.of(Check.API)[0]
    assert found.of(Check.CRDS)[0] == "this account may not ask for /apis/tekton.dev/v1 (403)"


def test_rights_that_are_missing_in_some_namespaces(tmp_path: Path) -> None:
    """Each right is asked for in each namespace, and what is missing is said with where."""
    found = look(
        tmp_path, lambda server: server.forbid(Kind.EVENT, Verb.LIST, namespace="release"), watch__namespaces="ci,release"
    )
    assert (found.code, found.states()) == (4, "oofooo")
    assert found.of(Check.RIGHTS) == (
        "this account may not list events in release",
        "grant it with a Role and a RoleBinding in each of the namespaces",
    )


def test_a_watch_that_is_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Something in between that holds a stream back is told after a while."""
    monkeypatch.setattr(doctor, "WATCH_S", 0.2)
    found = look(tmp_path, lambda server: server.fail(Break.STALL, Kind.POD))
    assert (found.code, found.states()) == (3, "ooofoo")
    assert found.of(Check.WATCH)[0].endswith("sent 0 Pods within 0.2 s, and not the bookmark that ends a list")
    assert "a proxy in between" in found.of(Check.WATCH)[1]


@pytest.mark.parametrize(
    ("reply", "sentence", "remedy"),
    [
        (says(401), "answered 401; the credentials in otlp.headers_file are missing or wrong", "tracer check"),
        (says(200, HTML, "text/html"), "answered 200 with text/html, which is no OTLP; is the address right?", "tracer check"),
        (says(503, b"later"), "answered 503: later", "see that it runs and takes OTLP"),
        (says(413), "answered 413 (a test span)", "ask those who run it"),
        (rejects(1, "too young"), "rejected spans: too young (a test span)", "ask those who run it"),
    ],
)
def test_what_is_wrong_with_the_backend(tmp_path: Path, reply: Reply, sentence: str, remedy: str) -> None:
    """A backend that does not take the test span has its sentence, and exit code 5."""
    found = look(tmp_path, replies=[reply])
    assert (found.code, found.states()) == (5, "ooooof")
    assert found.of(Check.BACKEND)[0].endswith(sentence)
    assert remedy in found.of(Check.BACKEND)[1]


def test_a_backend_that_warns(tmp_path: Path) -> None:
    """What a backend says beside its acknowledgement is told."""
    found = look(tmp_path, replies=[rejects(0, "old protocol")])
    assert (found.code, found.of(Check.BACKEND)[1]) == (0, "it says: old protocol")


def test_a_backend_that_is_not_there(tmp_path: Path) -> None:
    """Nobody listens there."""
    found = look(tmp_path, otlp__endpoint="http://127.0.0.1:1")
    assert (found.code, found.states()) == (5, "ooooof")
    assert found.of(Check.BACKEND)[0] == "http://127.0.0.1:1/v1/traces cannot be reached: Connection refused"


def test_a_file_of_the_backends_that_is_not_there(tmp_path: Path) -> None:
    """A wrong setting is found as what it is, and the cluster was looked at before."""
    found = look(tmp_path, otlp__ca_file=str(tmp_path / "nonesuch.pem"))
    assert (found.code, found.states()) == (2, "ooooof")
    assert found.of(Check.BACKEND)[0].endswith("nonesuch.pem cannot be read: No such file or directory")


# ---------------------------------------------------------------- what is read


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"{}", b'{"status":{}}', b"[" * 100_000, b'{"kind":1}', HTML])
def test_an_answer_that_cannot_be_read_is_none(body: bytes) -> None:
    """Whatever comes, nothing is raised and nothing of it is shown."""
    assert (questions.is_allowed(body), questions.server_version(body), questions.resources(body)) == (None, None, None)
    assert questions.why(body) == ""


@pytest.mark.parametrize(
    ("date", "sent_s", "received_s", "offset_s"),
    [
        ("Thu, 01 Jan 1970 00:01:00 GMT", 60, 60.5, 0),
        ("Thu, 01 Jan 1970 00:01:00 GMT", 60.9, 61.1, 0),
        ("Thu, 01 Jan 1970 00:01:00 GMT", 50, 52, 8),
        ("Thu, 01 Jan 1970 00:01:00 GMT", 70, 72, -9),
        ("yesterday", 0, 0, None),
        ("", 0, 0, None),
    ],
)
def test_a_clocks_offset_is_what_it_is_at_least(date: str, sent_s: float, received_s: float, offset_s: float | None) -> None:
    """A header with whole seconds, of some moment between question and answer, accuses nobody without need."""
    assert clock_offset_s({"Date": date}, int(sent_s * 1e9), int(received_s * 1e9)) == offset_s
