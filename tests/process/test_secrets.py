"""What a user's objects hold beside what is told shows nowhere: not in spans, metrics, log lines, the checkpoint, a recording."""

import asyncio
import io
import json

import pytest

from tests.kit import SCHEMA, Json
from tests.process.outage import SPANS
from tests.process.performance import happenings
from tests.process.test_restarts import CONFIG_MAP
from tests.replies import says
from tracer.clock import Clock
from tracer.demo.apiserver import ApiServer
from tracer.demo.receiver import Receiver
from tracer.demo.stage import stage
from tracer.events import Level
from tracer.health.log import Log
from tracer.kube.named import CHECKPOINT_NAME
from tracer.kube.writing import Writer
from tracer.settings import load
from tracer.tekton.decode import Malformed, Unread, decode
from tracer.tekton.names import OwnKind
from tracer.tekton.observation import Seen
from tracer.tekton.times import SECOND_NS

CANARY = "CANARY-5f0c"
TEXTS = {"script", "workingDir", "default", "description", "subPath", "secretName", "configMap"}
LISTS = {"args", "command"}
RESULTS = ("results", "taskResults", "pipelineResults")


def poisoned(value: object, key: str = "") -> object:
    """Put the canary wherever a user may write what is nobody else's business."""
    match value:
        case dict():
            return {name: poisoned(of, name) for name, of in value.items()} | _more(key, value)
        case list():
            return [*(poisoned(one, key) for one in value), *([CANARY] if key in LISTS else [])]
        case str() if key in TEXTS:
            return CANARY
        case str() if key == "message" and value.startswith("["):
            return json.dumps([*json.loads(value), {"key": "token", "value": CANARY, "type": 1}])
    return value


def _more(key: str, value: Json) -> Json:
    """Add what could stand there as well."""
    named: list[Json] = [{"name": "token", "value": CANARY}]
    if key == "metadata" and "uid" in value:
        own = {"example.com/token": CANARY, "kubectl.kubernetes.io/last-applied-configuration": CANARY}
        notes = {one: {**value.get(one, {}), **own} for one in ("annotations", "labels")}
        return {**notes, "managedFields": [{"manager": CANARY, "fieldsV1": {CANARY: {}}}]}
    if key == "spec":
        return {"params": named, "workspaces": [{"name": CANARY, "secret": {"secretName": CANARY}}], "hostname": CANARY}
    if key == "status":
        return {**dict.fromkeys(RESULTS, named), "provenance": {"refSource": {"uri": CANARY}}}
    if "image" in value and "name" in value:
        return {
            "env": named,
            "envFrom": [{"secretRef": {"name": CANARY}}],
            "volumeMounts": [{"name": CANARY, "mountPath": CANARY}],
        }
    return {}


@pytest.mark.row("S6")
@pytest.mark.parametrize("name", ["failing-step", "task-timeout", "retries", "matrix"])
def test_what_is_nobody_elses_business_shows_nowhere(name: str) -> None:
    """The canary is in every object, and in nothing that leaves the process."""
    written = io.StringIO()

    async def main() -> list[bytes]:
        log = Log(written, Level.INFO, Clock())
        async with ApiServer() as server, Receiver([says(503)]) as receiver:
            server.put(CONFIG_MAP)
            began_ns = int((happenings(name)[0][0] - 1) * SECOND_NS)
            async with stage(began_ns, server, load({"otlp.endpoint": receiver.url}, {}), log.report) as one:
                for _, is_gone, content in happenings(name):
                    changed = poisoned(content)
                    assert isinstance(changed, dict)
                    assert CANARY in json.dumps(changed)
                    await one.happen(changed, is_gone=is_gone)
                    await one.clock.move_on(0.1)
                await one.clock.move_on(60)
                await one.delivered()
                metrics = [(await one.app.metrics.render(accept))[1] for accept in ("", "application/openmetrics-text")]
            assert len(receiver.spans) > SPANS
            kept = server.store.get(OwnKind.CONFIG_MAP, f"tracer/{CHECKPOINT_NAME}")
            assert kept is not None
            return [*(body for _, body in receiver.requests), *metrics, kept.whole]

    said = [*asyncio.run(main()), written.getvalue().encode()]
    assert all(said)
    assert [one for one in said if CANARY.encode() in one] == []


@pytest.mark.row("S6")
def test_a_recording_holds_none_of_it() -> None:
    """Nor does what `tracer record` writes, whatever the object."""
    writer = Writer()
    for name in ("failing-step", "retries"):
        for at_s, _, content in happenings(name):
            value = decode(json.dumps(poisoned(content)).encode(), SCHEMA)
            assert not isinstance(value, Malformed | Unread)
            assert CANARY.encode() not in writer.line(Seen(value), int(at_s * SECOND_NS))
