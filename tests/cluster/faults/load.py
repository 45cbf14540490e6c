"""What happens in the cluster while something fails? Scenarios of `recordings`, one after another, until it is enough.

Keeps: a run that was asked for is created once, however long the API server is away meanwhile.
"""

import json
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager

from tests.cluster.lab.place import Json, Place
from tests.cluster.lab.shell import wait_until
from tests.cluster.test_rights import namespaces
from tests.kit import RECORDINGS, SCENARIOS

TAKEN_WITHIN_S = 240
"""The API server may be away for long."""
AT_ONCE = 24
_STATES = '{range .items[*]}{.metadata.name}{"="}{.status.conditions[0].status}{"\\n"}{end}'
_SCENARIOS = {path.name: (path / "scenario.json").read_text() for path in [*RECORDINGS, *SCENARIOS]}
_PACE = (("sleep 60", "sleep 15"), ("sleep 1.5", "sleep 4"))
"""What nobody ends does so by itself before long; who may say a last word takes its time, longer than it takes a run to rest."""
_DOES_AFTER_S = 5.0


class Load:
    """Runs in a namespace of their own, a new one every few seconds."""

    def __init__(self, place: Place, namespace: str) -> None:
        """Begin with none."""
        self.namespace = namespace
        self.uids: dict[str, str] = {}
        """Of the runs that were created, by their names."""
        self._place = place
        self._deleted: set[str] = set()
        self._is_enough, self._is_played = threading.Event(), threading.Event()

    def play(self, pool: Executor, scenarios: Iterable[str], every_s: float) -> None:
        """Create runs of the scenarios, one after another, until it is enough. Raises AssertionError if one cannot be created."""
        playing = []
        try:
            for number, scenario in enumerate(scenarios, start=1):
                playing.append(pool.submit(self._play, scenario, f"{scenario}-{number}"))
                if self._is_enough.wait(every_s):
                    break
            for one in playing:
                one.result()
        finally:
            self._is_played.set()

    def end(self) -> None:
        """Let no more runs begin, and wait until those that have are created and what is to happen to them has happened."""
        self._is_enough.set()
        self._is_played.wait()

    def in_state(self, *states: str) -> list[str]:
        """Give the names of the runs that exist and have one of the states True, False and Unknown."""
        said = self._place.asked("get", "pipelineruns", "-n", self.namespace, "-o", f"jsonpath={_STATES}").splitlines()
        return [name for name, _, state in (line.partition("=") for line in said) if state in states]

    def delete(self, names: Iterable[str]) -> None:
        """Delete runs, with all that is theirs."""
        names = tuple(names)
        self._deleted.update(names)
        self._place.kubectl("delete", "pipelinerun", "-n", self.namespace, *names, "--wait=false")

    def _play(self, scenario: str, name: str) -> None:
        text = _SCENARIOS[scenario]
        for usual, here in _PACE:
            text = text.replace(usual, here)
        script: Json = json.loads(text)
        (run,) = script["objects"]
        run["metadata"]["name"] = name
        self.uids[name] = self._insist(name, "apply", "-f", "-", "-o", "jsonpath={.metadata.uid}", stdin=json.dumps(run))
        for _, verb, kind, _, patch in script["do"]:
            assert verb == "patch"
            threading.Event().wait(_DOES_AFTER_S)
            self._insist(name, "patch", kind, name, "--type=merge", "-p", json.dumps(patch))

    def _insist(self, name: str, *arguments: str, stdin: str | None = None) -> str:
        """Ask again until the API server has done it, or the run was deleted; what is done twice is the same as once."""
        said: list[str] = []

        def is_done() -> bool:
            said.append(self._place.asked(*arguments, "-n", self.namespace, stdin=stdin))
            return bool(said[-1]) or name in self._deleted

        assert wait_until(is_done, TAKEN_WITHIN_S), f"{self.namespace}: `kubectl {' '.join(arguments)}` is never done"
        return said[-1]


@contextmanager
def load(place: Place, namespace: str, scenarios: Iterable[str], every_s: float) -> Iterator[Load]:
    """Create runs of the scenarios, one after another, until `end` is called or the context ends; take all away then."""
    with namespaces(place, namespace), ThreadPoolExecutor(AT_ONCE) as pool:
        one = Load(place, namespace)
        playing = pool.submit(one.play, pool, scenarios, every_s)
        try:
            yield one
        finally:
            one.end()
            playing.result()
