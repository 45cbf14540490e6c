"""The claim of delivery: whatever fails, every level span arrives, none with two contents; what is repeated is counted.

Each test makes one thing fail while runs run; what is claimed of all of them is said, and checked, by `Bench.fault`.
"""

from functools import partial
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.cluster.faults.bench import USUAL, Bench, Controller, Setup, last
from tests.cluster.lab.recorder import now
from tests.cluster.lab.shell import wait_until
from tests.cluster.tee import Answer
from tracer.kube.checkpoints import INTERVAL_S

FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"
HOUR_S = 3600
ALONE = ("--leader-enabled", "false")
WRITTEN_WITHIN_S = 5
GONE_WITHIN_S, LEADS_WITHIN_S, ANSWERS_WITHIN_S = 60, 30, 10
STATES_WITHIN_S, REFUSED_WITHIN_S = 120, 60  # longer than ever passes between two tries
CLOCKS = [pytest.param("late", -HOUR_S, id="late"), pytest.param("ahead", HOUR_S, id="ahead")]
_GONE = 'reason="gone"'


@pytest.mark.row("P2")
def test_killed_again_and_again(bench: Bench) -> None:
    """`kill -9` at random moments, started again each time: repeated is only what was taken since the last checkpoint."""
    killed_s = []
    with bench.fault("kill", f"kill -9 x{bench.length.kills}", controllers=(), sees_all=False) as fault:
        for _ in range(bench.length.kills):
            with bench.controller() as controller:
                last(bench.chance.uniform(*bench.length.between_kills_s))
                controller.program.kill()
                killed_s.append(now())
    for taken_s in bench.taken_again_s(fault.runs.namespace):
        assert any(0 <= kill_s - taken_s <= INTERVAL_S + WRITTEN_WITHIN_S for kill_s in killed_s)


@pytest.mark.row("P1")
def test_a_restart_repeats_nothing(bench: Bench) -> None:
    """SIGTERM, and started again: nothing that was acknowledged is sent again."""
    with bench.fault("restart", "graceful restart", controllers=(), sees_all=False) as fault:
        for _ in range(2):
            with bench.controller():
                last(bench.length.restart_s)
    assert fault.books is not None
    assert fault.books.repeated == 0


@pytest.mark.row("A9")
def test_the_api_server_hangs(bench: Bench) -> None:
    """The API server takes connections and answers nothing, and goes on: nothing that happens afterwards is missed."""
    frozen_s = bench.length.api_frozen_s
    with bench.fault("api-hangs", f"kube-apiserver stopped for {frozen_s:g} s"), bench.cluster.frozen("apiserver"):
        last(frozen_s)


@pytest.mark.row("A1", "A5")
def test_the_api_server_is_killed(bench: Bench) -> None:
    """The API server is killed, etcd compacted, the API server started: the version to go on from is gone (410)."""
    away_s = bench.length.api_away_s
    with bench.fault("api-killed", f"kube-apiserver killed for {away_s:g} s, etcd compacted", sees_all=False) as fault:
        with bench.cluster.away("apiserver"):
            last(away_s)
            bench.cluster.compact_etcd()
        (controller,) = fault.controllers
        assert wait_until(lambda: _scraped(controller, _GONE) > 0, GONE_WITHIN_S)


@pytest.mark.row("B7", "B10")
def test_the_backend_hangs_and_refuses(bench: Bench) -> None:
    """Jaeger takes requests and answers none, then all; then 503 and 429, with and without a word of when to come again."""
    refusals = [Answer(status, headers) for status in (503, 429) for headers in ((), (("Retry-After", "2"),))]
    away_s = bench.length.backend_away_s
    with bench.fault("backend", f"Jaeger hung for {away_s:g} s, then 503 and 429 for as long", goes_on=True):
        with bench.cluster.frozen("jaeger"):
            last(away_s)
        for refusal in refusals:
            before = len(bench.backend.requests)
            with bench.backend.refusing(refusal):
                last(away_s / len(refusals))
                assert wait_until(partial(_has_answered, bench, refusal.status, before), REFUSED_WITHIN_S)


@pytest.mark.row("B11", "O9", "O10")
def test_runs_are_deleted_while_the_backend_is_away(bench: Bench) -> None:
    """Jaeger is killed, and started again without its memory; runs that have ended and runs that go on are deleted meanwhile."""
    away_s = bench.length.backend_away_s
    said = f"Jaeger killed for {away_s:g} s, runs deleted meanwhile"
    with bench.fault("deleted", said, is_in_jaeger=False, goes_on=True) as fault, bench.cluster.away("jaeger"):
        last(away_s / 2)
        in_state = fault.runs.in_state
        assert wait_until(lambda: bool(in_state("True", "False") and in_state("Unknown")), STATES_WITHIN_S)
        fault.runs.delete(in_state("True", "False", "Unknown"))
        last(away_s / 2)
        assert wait_until(lambda: None in _statuses(bench, fault.runs.namespace), REFUSED_WITHIN_S)


@pytest.mark.row("A21")
@pytest.mark.parametrize(("how", "offset_s"), CLOCKS)
def test_two_replicas_with_other_clocks(bench: Bench, tmp_path: Path, how: str, offset_s: int) -> None:
    """Two controllers that know nothing of each other, one of them an hour off, say the same, also when both are set back."""
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    _set(right, 0)
    _set(wrong, offset_s)
    said = f"two replicas without election, one an hour {how}, then both set back"
    with bench.fault(f"clock-{how}", said, controllers=[Setup(ALONE, _faked(one)) for one in (right, wrong)]):
        last(bench.length.replicas_s)
        _set(right, -HOUR_S)
        _set(wrong, offset_s - HOUR_S)
        last(bench.length.replicas_s)


@pytest.mark.row("P5", "P7")
def test_the_leader_freezes_and_another_one_ends(bench: Bench) -> None:
    """Who holds the Lease is frozen beyond its time, thawed, and the other one, which leads by then, is ended by SIGTERM.

    Each time the standby knows what the leader knew: no attempt is told without its Pod.
    """
    frozen_s = bench.length.leader_frozen_s
    said = f"the leader frozen for {frozen_s:g} s, then the next one ended"
    with bench.fault("leader", said, controllers=(USUAL, USUAL)) as fault:
        first, second = sorted(fault.controllers, key=_leads, reverse=True)
        assert (_leads(first), _leads(second)) == (True, False)
        with first.program.frozen():
            last(frozen_s)
            assert wait_until(lambda: _leads(second), LEADS_WITHIN_S)
        assert wait_until(lambda: not _leads(first), LEADS_WITHIN_S)
        second.program.process.terminate()
        assert wait_until(lambda: _leads(first), LEADS_WITHIN_S)


def _set(offset: Path, offset_s: int) -> None:
    offset.write_text(f"{offset_s:+}")


def _faked(offset: Path) -> dict[str, str]:
    """Give the environment of a process whose time of day is off; what time passes is as it is, since asyncio lives on it."""
    read_anew = {"FAKETIME_TIMESTAMP_FILE": str(offset), "FAKETIME_NO_CACHE": "1"}
    return {"LD_PRELOAD": FAKETIME, "FAKETIME_DONT_FAKE_MONOTONIC": "1", **read_anew}


def _statuses(bench: Bench, namespace: str) -> set[int | None]:
    """Give what was answered to requests that told of a namespace."""
    return {one.status for one in bench.backend.requests if namespace.encode() in one.body}


def _has_answered(bench: Bench, status: int, since: int) -> bool:
    """Say whether such an answer was given to a request after so many."""
    return any(one.status == status for one in bench.backend.requests[since:])


def _leads(controller: Controller) -> bool:
    return _scraped(controller, "tracer_is_leader ") == 1


def _scraped(controller: Controller, words: str) -> float:
    """Add up the values of a controller's metrics with such words in their names or labels."""
    with urlopen(f"http://{controller.served_at}/metrics", timeout=ANSWERS_WITHIN_S) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if words in line and line[0] != "#")
