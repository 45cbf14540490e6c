"""The claim of the chart's files: they agree with the program. What Helm makes of them: tests/cluster/test_chart.py."""

import json
import re
from collections.abc import Iterator
from functools import reduce

import pytest
import yaml

from tests.chart import restricted
from tests.chart.manifests import INSTALL, STATE, copies
from tests.chart.rendering import CHART, objects
from tests.chart.schema import SCHEMA, has_plain_default, written
from tests.kit import Json
from tracer import __version__
from tracer.config import KEYS
from tracer.kube.named import CHECKPOINT_NAME, LEASE_NAME
from tracer.settings import load

TEXT = (CHART / "values.yaml").read_text()
VALUES: Json = yaml.safe_load(TEXT)
DIFFERS = {"otlp.endpoint": "http://jaeger:4318", "jaeger.endpoint": "http://jaeger:14268"}
"""In a Pod the program's own default leads nowhere."""
OPEN = {"global", "nodeAffinity", "podAffinity", "podAntiAffinity"}
"""What others than the chart say: Helm, and a Pod's own long specification."""
OPTIONAL = OPEN | {"mappings", "cpu", "ephemeral-storage"}
"""What values.yaml does not have, though it can be given."""


def test_the_version_is_the_programs() -> None:
    """A chart installs the program that it was made with."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)


# ---------------------------------------------------------------- values


def test_the_schema_is_current() -> None:
    """Below `config` it takes what the program takes; `make manifests` writes it."""
    assert SCHEMA.read_text() == written()


def test_the_values_are_the_programs_defaults() -> None:
    """The values have each setting with its default, but for pairs, which Helm would merge with what is given."""
    for key in KEYS.values():
        *sections, name = key.name.split(".")
        section = reduce(dict.__getitem__, sections, VALUES["config"])
        if has_plain_default(key):
            default = list(key.default) if isinstance(key.default, tuple) else key.default
            assert section.pop(name) == DIFFERS.get(key.name, default), key.name
        else:
            assert name not in section
    assert all(section == {} for section in VALUES["config"].values())


def test_the_program_takes_the_values() -> None:
    """As its own file."""
    config = yaml.safe_load(TEXT)["config"]
    settings = load({}, {}, ("values.yaml", yaml.safe_dump(config).encode()))
    assert settings.config.otlp.endpoint == "http://jaeger:4318/v1/traces"


def test_the_schema_knows_the_values_and_no_others() -> None:
    """What is not in values.yaml cannot be given, but for a little that is optional; what is there must not be taken away."""
    schema = json.loads(SCHEMA.read_text())

    def compare(where: str, values: Json, said: Json) -> None:
        said = schema["definitions"][said["$ref"].rpartition("/")[2]] if "$ref" in said else said
        if isinstance(said["additionalProperties"], dict):
            return  # labels: the user's own names
        assert said["additionalProperties"] is False, where
        assert values.keys() <= said["properties"].keys() <= values.keys() | OPTIONAL, where
        for name, value in values.items():
            if isinstance(value, dict):
                compare(f"{where}.{name}", value, said["properties"][name])

    compare("values", yaml.safe_load(TEXT), schema)
    assert schema["required"] == [name for name in schema["properties"] if name not in {"global", "runAsUser"}]


def test_nothing_unknown_is_taken() -> None:
    """No object in the schema is open, but for those that are somebody else's."""

    def walk(name: str, said: object) -> Iterator[str]:
        if isinstance(said, dict):
            if said.get("type") == "object" and "additionalProperties" not in said:
                yield name
            for inner, value in said.items():
                yield from walk(inner, value)

    assert set(walk("values", json.loads(SCHEMA.read_text()))) == OPEN


def test_each_value_says_what_it_is() -> None:
    """Above each value in values.yaml, and each group of values that is one, stands a sentence."""
    lines = TEXT.splitlines()
    for number, line in enumerate(lines):
        found = re.fullmatch(r"( *)(- )?([\w./]+):( .*)?", line)
        if found and found[4] and not found[2] and "kubernetes.io/metadata.name" not in line:
            before = lines[number - 1].strip()
            assert before.startswith("# "), line
            assert before.endswith((".", ":")), before


# ---------------------------------------------------------------- files


def test_copies_are_copies() -> None:
    """The dashboards and rules in the chart are those beside it; `make manifests` copies them."""
    known = list(copies())
    assert {copy.read_text() == source.read_text() for source, copy in known} == {True}
    assert {copy for _, copy in known} == {path for path in (CHART / "files").rglob("*") if path.is_file()}


def test_its_own_objects_have_the_names_that_the_program_looks_for() -> None:
    """In the file for who is outside of the cluster, and in the one for who is in it; neither says what is in them."""
    for path in (STATE, INSTALL):
        found = {one["metadata"]["name"]: one for one in objects(path.read_text()) if one["kind"] in {"ConfigMap", "Lease"}}
        for name in (CHECKPOINT_NAME, LEASE_NAME):
            assert found[name].keys() == {"apiVersion", "kind", "metadata"}


# ---------------------------------------------------------------- what the render tests measure with

GOOD: Json = {
    "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    "containers": [
        {"name": "one", "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}},
    ],
}


def changed(path: str, value: object) -> Json:
    """Give the good Pod with one thing changed, below `securityContext` or `containers.0`."""
    spec: Json = json.loads(json.dumps(GOOD))
    *steps, last = path.split(".")
    inner = reduce(lambda held, step: held[int(step)] if isinstance(held, list) else held.setdefault(step, {}), steps, spec)
    inner[last] = value
    return spec


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("hostNetwork", True, "hostNetwork"),
        ("volumes", [{"name": "etc", "hostPath": {"path": "/etc"}}], "volume etc: hostPath"),
        ("securityContext.runAsNonRoot", False, "one: runAsNonRoot"),
        ("securityContext.seccompProfile", {"type": "Unconfined"}, "one: seccompProfile"),
        ("securityContext.sysctls", [{"name": "kernel.shm_rmid_forced", "value": "0"}], "sysctls"),
        ("containers.0.securityContext.runAsUser", 0, "one: runAsUser"),
        ("containers.0.securityContext.runAsNonRoot", False, "one: runAsNonRoot"),
        ("containers.0.securityContext.privileged", False, "one: privileged"),
        ("containers.0.securityContext.allowPrivilegeEscalation", None, "one: allowPrivilegeEscalation"),
        ("containers.0.securityContext.capabilities", {"drop": ["NET_RAW"]}, "one: capabilities"),
        ("containers.0.securityContext.capabilities", {"drop": ["ALL"], "add": ["NET_ADMIN"]}, "one: capabilities"),
        ("containers.0.ports", [{"containerPort": 80, "hostPort": 80}], "one: hostPort"),
        (
            "initContainers",
            [{"name": "two", "securityContext": {"capabilities": {"drop": ["ALL"]}}}],
            "two: allowPrivilegeEscalation",
        ),
    ],
)
def test_what_the_standard_forbids_is_found(path: str, value: object, said: str) -> None:
    """Each of these, and nothing in a Pod that keeps to it."""
    assert restricted.faults(changed(path, value)) == [said]
    assert restricted.faults(GOOD) == []
