"""The claim of the alerts: a step that fails three times raises one, though `tracer` was started again, and leads to its spans.

A real Prometheus scrapes the real controller, as docs/alerts.md says, with the rules that are shipped.
"""

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
import yaml

from tests.cluster import account, jaeger, otlp
from tests.cluster.faults.bench import free_port, last
from tests.cluster.lab.builds import install
from tests.cluster.lab.cluster import Cluster
from tests.cluster.lab.place import JAEGER_OTLP_PORT, Json
from tests.cluster.lab.shell import answers_ok, wait_until
from tests.cluster.program import SYNCED, controlling
from tests.cluster.tee import Tee, tee
from tests.cluster.test_rights import namespaces
from tests.dashboards.expressions import metrics_in, used_names
from tests.kit import HERE, RECORDINGS
from tracer.health.families import FAMILIES

ACCOUNT, NAMESPACE = "alerted", "alerts"
RULES, PAGE = HERE.parent / "deploy" / "alerts" / "rules.yaml", HERE.parent / "docs" / "alerts.md"
EVERY = "1s"
COUNTED_WITHIN_S, FIRES_WITHIN_S, APART_S = 90, 30, 15
STEP = {"namespace": NAMESPACE, "task": "test", "step": "unit"}
FAILURES = f'tekton_steps_total{{namespace="{NAMESPACE}",result="failure"}}'
LATEST = f'max(max_over_time(tekton_step_last_failure_timestamp_seconds{{namespace="{NAMESPACE}"}}[1h]))'
(SCENARIO,) = [path / "scenario.json" for path in RECORDINGS if path.name == "failing-step"]


class Prometheus:
    """One that runs."""

    def __init__(self, port: int) -> None:
        """Take it."""
        self._port = port

    def ask(self, path: str, **query: str) -> Json:
        """Ask its API."""
        with urlopen(f"http://127.0.0.1:{self._port}/api/v1/{path}?{urlencode(query)}", timeout=10) as answer:
            said: Json = json.load(answer)
        assert said["status"] == "success"
        return said

    def total(self, expression: str) -> float:
        """Add up what an expression comes to now."""
        return sum(float(one["value"][1]) for one in self.ask("query", query=expression)["data"]["result"])

    def firing(self, name: str) -> list[Json]:
        """Give the alerts of a name that fire."""
        return [one for one in self.ask("alerts")["data"]["alerts"] if _is_firing(one, name)]

    def exemplars(self, expression: str) -> list[dict[str, str]]:
        """Give the labels of the examples that it has kept in the last hour."""
        now_s = float(self.ask("query", query="time()")["data"]["result"][1])
        found = self.ask("query_exemplars", query=expression, start=str(now_s - 3_600), end=str(now_s))["data"]
        return [one["labels"] for series in found for one in series["exemplars"]]


def _is_firing(alert: Json, name: str) -> bool:
    return bool(alert["labels"]["alertname"] == name and alert["state"] == "firing")


@contextmanager
def prometheus(folder: Path, scraped: str) -> Iterator[Prometheus]:
    """Start it as the page says, but for where the controller is, and how often it is asked."""
    install(["prometheus"])
    (said,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    config, port = yaml.safe_load(said), free_port()
    config["global"] = dict.fromkeys(config["global"], EVERY)
    config["scrape_configs"][0]["static_configs"][0]["targets"] = [scraped]
    (folder / "rules.yaml").write_text(RULES.read_text())
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    command = [
        *("prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"),
        *(f"--web.listen-address=127.0.0.1:{port}", "--enable-feature=exemplar-storage"),
    ]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT) as process:
        try:
            assert wait_until(lambda: answers_ok(port, "/-/ready"), 30), (folder / "log").read_text()
            yield Prometheus(port)
        finally:
            process.terminate()


def fail_once(cluster: Cluster, number: int, one: Prometheus) -> None:
    """Let the scenario fail once more, and wait until Prometheus knows, which tells failures apart that are 15 s apart."""
    (run,) = json.loads(SCENARIO.read_text())["objects"]
    run["metadata"]["name"] = f"run-{number}"
    since_s = one.total(LATEST)
    cluster.place.create(NAMESPACE, [run])
    assert wait_until(lambda: one.total(LATEST) > since_s, COUNTED_WITHIN_S), f"the failure of run-{number} is not known"
    last(APART_S)


@pytest.fixture
def backend(cluster: Cluster) -> Iterator[Tee]:
    """Give what stands in front of Jaeger, and an account that has the rights of an installation."""
    account.create(cluster.place, ACCOUNT)
    account.allow(cluster.place, ACCOUNT, [*account.ALWAYS, account.CLUSTER_UID])
    with tee(JAEGER_OTLP_PORT) as one:
        yield one


def test_a_step_that_fails_three_times_raises_an_alert(cluster: Cluster, backend: Tee, tmp_path: Path) -> None:
    """With `tracer` started again after the first: counters and alert say three, and the examples name spans that Jaeger has."""
    kubeconfig, listen = account.kubeconfig(cluster.place, ACCOUNT, tmp_path), f"127.0.0.1:{free_port()}"
    with namespaces(cluster.place, NAMESPACE), prometheus(tmp_path, listen) as one:
        counted = 0.0
        for failures in ((1,), (2, 3)):
            with controlling(tmp_path / f"run-{failures[0]}.log", kubeconfig, backend, "--listen", listen) as program:
                program.await_words(SYNCED)
                for number in failures:
                    assert not one.firing("StepFailingRepeatedly")
                    fail_once(cluster, number, one)
                counted += one.total(FAILURES)
                if failures != (1,):
                    assert wait_until(lambda: bool(one.firing("StepFailingRepeatedly")), FIRES_WITHIN_S)
                    check_names(listen)
        assert counted == 3
        (alert,) = one.firing("StepFailingRepeatedly")
        assert {name: alert["labels"].get(name) for name in STEP} == STEP
        assert float(alert["value"]) == 3
        assert {one_firing["labels"]["step"] for one_firing in one.firing("StepFailing")} == {"unit"}
        check_exemplars(one)


def check_exemplars(one: Prometheus) -> None:
    """Hold the examples of the failures against what Jaeger has: each names the span of the step that failed."""
    found = {(labels["trace_id"], labels["span_id"]) for labels in one.exemplars(FAILURES)}
    assert len(found) == 3
    for trace_id, span_id in found:
        named = {otlp.span_of(each).span_id.hex(): otlp.span_of(each).name for each in jaeger.spans(bytes.fromhex(trace_id))}
        assert named[span_id] == "unit"


def check_names(served_at: str) -> None:
    """Hold the table, the rules and the dashboards against the names that a real controller serves."""
    with urlopen(f"http://{served_at}/metrics", timeout=10) as answer:
        served = set(re.findall(r"^# TYPE (\S+)", answer.read().decode(), re.MULTILINE))
    rules = [rule["expr"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    used = {name for expression in [*rules, *(each for _, each in used_names())] for name in metrics_in(expression)}
    assert {family.name for family in FAMILIES} <= served
    assert {re.sub("_(bucket|sum|count)$", "", name) for name in used} <= served | {"up"}
