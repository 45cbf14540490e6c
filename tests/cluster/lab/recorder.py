"""What does the API server say while a scenario runs, and what do the steps say of themselves?

A scenario is `{"about": ..., "objects": [manifests], "do": [[seconds, verb, ...]], "until": "KIND/NAME", "settle": seconds}`.
Times in `do` count from the moment the objects are created. Verbs: `patch KIND NAME JSON`, `delete KIND NAME [FLAGS]`,
`evict POD`, `kubectl ARGS...`. A step's script may print `truth begin UPTIME` and `truth end UPTIME`.

A recording has `watch.jsonl` (every watch event with its time of arrival), `objects.json` (what a late lister sees, by kind),
`truth.json` (when each step's own script began and ended) and `scenario.json`.
"""

import json
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Self

from tests.cluster.lab.place import Json, Place
from tests.cluster.lab.shell import LabError, run, wait_until

KINDS = {
    "Pod": "/api/v1/namespaces/{}/pods",
    "Event": "/api/v1/namespaces/{}/events",
    "TaskRun": "/apis/tekton.dev/v1/namespaces/{}/taskruns",
    "PipelineRun": "/apis/tekton.dev/v1/namespaces/{}/pipelineruns",
    "CustomRun": "/apis/tekton.dev/v1beta1/namespaces/{}/customruns",
}
DONE_WITHIN_S, LOGS_WITHIN_S, SETTLE_S = 300, 10, 4
_TRUTH = re.compile(r"^truth (begin|end) (\S+)$", re.MULTILINE)


def name_of(scenario: Path) -> str:
    """Name a recording: by the scenario's file, or by its folder if it lies in a recording."""
    return scenario.parent.name if scenario.name == "scenario.json" else scenario.stem


def _read(scenario: Path) -> Json:
    try:
        script = json.loads(scenario.read_text())
    except ValueError:
        script = None
    if not isinstance(script, dict) or not {"objects", "until"} <= script.keys():
        raise LabError(f"{scenario} is no scenario: expected a JSON object with `objects` and `until`.")
    return script


def record(place: Place, scenario: Path, out: Path) -> str:
    """Run a scenario in a namespace of its own and write its recording; say in a line what came of it.

    Raises LabError if it is no scenario, or if what it waits for is not done in time.
    """
    script = _read(scenario)
    name = name_of(scenario)
    folder, namespace = out / name, f"scenario-{name}"
    folder.mkdir(parents=True, exist_ok=True)
    with _namespace(place, namespace), _Listener(place, namespace, folder / "watch.jsonl", script["until"]) as listener:
        began = now()
        place.create(namespace, script["objects"])
        for after_s, verb, *arguments in script.get("do", []):
            time.sleep(max(0.0, began + after_s - now()))
            _do(place, namespace, verb, arguments)
        if not listener.is_done.wait(DONE_WITHIN_S):
            raise LabError(
                f"{script['until']} of {scenario} is not done after {DONE_WITHIN_S} s: see `kubectl -n {namespace} get pods`."
            )
        time.sleep(script.get("settle", SETTLE_S))  # what Tekton and the kubelet say after the end belongs to the recording
        lists = {kind: _listed(place, url.format(namespace)) for kind, url in KINDS.items()}
        truth = listener.truth()
    for file, content, indent in (("objects", lists, None), ("truth", truth, 1), ("scenario", script, 1)):
        separators = (",", ":") if indent is None else None
        (folder / f"{file}.json").write_text(json.dumps(content, indent=indent, separators=separators) + "\n")
    return f"{name}: {listener.events} watch events, {len(truth)} step containers, {now() - began:.0f} s"


def now() -> float:
    """Give the present time in Unix seconds."""
    return time.time()  # noqa: TID251 - a recording says when each event arrived


@contextmanager
def _namespace(place: Place, namespace: str) -> Iterator[None]:
    place.kubectl("delete", "namespace", namespace, "--ignore-not-found", "--wait=true")
    place.kubectl("create", "namespace", namespace)
    if not wait_until(lambda: bool(place.asked("get", "sa", "default", "-n", namespace, "-o", "name")), within_s=10):
        raise LabError(f"{namespace} gets no ServiceAccount: read the controller-manager's log.")
    try:
        yield
    finally:
        place.kubectl("delete", "namespace", namespace, "--wait=false")


def _do(place: Place, namespace: str, verb: str, arguments: list[object]) -> None:
    match verb, arguments:
        case "patch", [str(kind), str(name), patch]:
            place.kubectl("patch", kind, name, "-n", namespace, "--type=merge", "-p", json.dumps(patch))
        case "delete", [str(kind), str(name), *flags]:
            place.kubectl("delete", kind, name, "-n", namespace, *map(str, flags), "--wait=false")
        case "evict", [str(pod)]:
            eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": namespace}}
            place.kubectl(
                "create", "--raw", f"{KINDS['Pod'].format(namespace)}/{pod}/eviction", "-f", "-", stdin=json.dumps(eviction)
            )
        case "kubectl", words:
            place.kubectl(*map(str, words), "-n", namespace)
        case _:
            raise LabError(f"No scenario can do {verb} with {arguments}: see the verbs in {__file__}.")


def _listed(place: Place, url: str) -> Json:
    listing: Json = json.loads(place.kubectl("get", "--raw", url))
    for item in listing["items"]:
        item["metadata"].pop("managedFields", None)
    return listing


@dataclass
class _Listener:
    """Writes what watches say, follows the log of every step, and sees when the scenario is done."""

    place: Place
    namespace: str
    path: Path
    until: str
    is_done: threading.Event = field(default_factory=threading.Event)
    events: int = 0
    _logs: dict[tuple[str, str], str] = field(default_factory=dict)
    _followers: dict[tuple[str, str], threading.Thread] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _watches: list[subprocess.Popen[str]] = field(default_factory=list)
    _readers: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        self.path.write_text("")
        for url in KINDS.values():
            command = self.place.kubectl_command("get", "--raw", f"{url.format(self.namespace)}?watch=1&allowWatchBookmarks=true")
            watch = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, text=True)
            assert watch.stdout is not None
            self._watches.append(watch)
            self._readers.append(threading.Thread(target=self._read, args=(watch.stdout,)))
            self._readers[-1].start()
        return self

    def __exit__(self, *_: object) -> None:
        for watch, reader in zip(self._watches, self._readers, strict=True):
            watch.terminate()
            reader.join()
            with watch:
                pass

    def truth(self) -> list[Json]:
        """Give what each step's script said of itself, in Unix seconds, by Pod UID and container."""
        for follower in list(self._followers.values()):
            follower.join(LOGS_WITHIN_S)
        booted = now() - float(Path("/proc/uptime").read_text().split()[0])
        return [
            {
                "pod": uid,
                "container": container,
                **{key: round(float(uptime) + booted, 2) for key, uptime in _TRUTH.findall(self._logs[uid, container])},
            }
            for uid, container in sorted(self._logs)
        ]

    def _read(self, lines: IO[str]) -> None:
        for line in lines:
            arrived = now()
            event: Json = json.loads(line)
            seen: Json = event["object"]
            if event["type"] == "BOOKMARK":
                continue
            seen.get("metadata", {}).pop("managedFields", None)
            with self._lock, self.path.open("a") as out:
                out.write(json.dumps({"at": round(arrived, 4), **event}, separators=(",", ":")) + "\n")
                self.events += 1
            if seen["kind"] == "Pod":
                self._follow_steps(seen)
            elif f"{seen['kind']}/{seen['metadata']['name']}" == self.until and _is_final(seen):
                self.is_done.set()

    def _follow_steps(self, pod: Json) -> None:
        for status in pod.get("status", {}).get("containerStatuses", []):
            key = (pod["metadata"]["uid"], status["name"])
            began = status["state"].keys() & {"running", "terminated"}
            if status["name"].startswith("step-") and began and key not in self._followers:
                self._followers[key] = threading.Thread(target=self._follow, args=(pod["metadata"]["name"], key))
                self._followers[key].start()

    def _follow(self, pod: str, key: tuple[str, str]) -> None:
        """Keep a container's whole log; its first words may be a moment away."""

        def keep() -> bool:
            command = self.place.kubectl_command("logs", "-n", self.namespace, pod, "-c", key[1], "-f")
            self._logs[key] = run(*command).stdout.strip()  # also what was read before the Pod went away
            return bool(self._logs[key])

        wait_until(keep, within_s=5)


def _is_final(run: Json) -> bool:
    conditions = run.get("status", {}).get("conditions") or []
    return any(one["type"] == "Succeeded" and one["status"] != "Unknown" for one in conditions)
