"""Which scenarios are run anew on the cluster, and what must come of them?

They are those of two recordings, but that the cancel waits for what it is to interrupt, so that a slow machine tells the same.
"""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.cluster.lab.place import Json, Place
from tests.cluster.lab.recorder import record
from tests.kit import HERE

ANEW = ("cancel", "retries")
_FETCHED = "jsonpath={.status.containerStatuses[?(@.name=='step-fetch')].state.terminated.exitCode}=0"
_WAIT_FOR_FETCH = [
    [0, "kubectl", "wait", "pod/run-build-pod", "--for=create", "--timeout=120s"],
    [0, "kubectl", "wait", "pod/run-build-pod", f"--for={_FETCHED}", "--timeout=120s"],
]


def record_anew(place: Place, out: Path) -> Path:
    """Run the scenarios and record them; give the folder with the recordings."""
    scenarios = [_write(out / f"{name}.json", _scenario(name)) for name in ANEW]
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda scenario: record(place, scenario, out), scenarios))
    return out


def _scenario(name: str) -> Json:
    scenario: Json = json.loads((HERE / "recordings" / name / "scenario.json").read_text())
    if name == "cancel":
        scenario["do"] = _WAIT_FOR_FETCH + [[0, *action] for _, *action in scenario["do"]]
    return scenario


def _write(path: Path, scenario: Json) -> Path:
    path.write_text(json.dumps(scenario))
    return path
