"""How does the cluster come up, and go down again?

Keeps: nothing of an earlier cluster is left in a new one; what is taken down leaves the programs and nothing else.
"""

import fcntl
import json
import os
import re
import select
import shlex
import shutil
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.client import HTTPConnection
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Self

from tests.cluster.lab import certificates, images, tekton
from tests.cluster.lab.builds import build
from tests.cluster.lab.components import PODS, Component, components, configure
from tests.cluster.lab.place import API_ADDRESS, ETCD_PORT, NODE_ADDRESS, SOCKET, WEBHOOK_ADDRESS, Json, Place, ctr_command
from tests.cluster.lab.shell import ENVIRONMENT, LabError, call, run, wait_until

ADDRESSES = (NODE_ADDRESS, API_ADDRESS, WEBHOOK_ADDRESS)
_PODS = ip_network(PODS)
READY_WITHIN_S = 90
STOPPED_WITHIN_S = 10
PODS_GONE_WITHIN_S = 5


class Cluster:
    """The one cluster of a place; each component can be stopped and started by its name."""

    def __init__(self, place: Place, apiserver_flags: Iterable[str] = ()) -> None:
        """Know the components; nothing is started yet."""
        self.place = place
        self._components = components(place, apiserver_flags)
        self._claimed = False

    @classmethod
    def of_environment(cls) -> Self:
        """Know the cluster that CLUSTER_HOME (else ~/.cache/cluster) and CLUSTER_APISERVER_FLAGS describe."""
        home = ENVIRONMENT.get("CLUSTER_HOME") or Path.home() / ".cache" / "cluster"
        return cls(Place(Path(home)), shlex.split(ENVIRONMENT.get("CLUSTER_APISERVER_FLAGS", "")))

    def up(self) -> None:
        """Build what is missing and start everything anew; an older cluster of this place is taken down first.

        Raises LabError if a program cannot be had or does not become ready, or if another process works with the cluster.
        """
        self._claim()
        build(self.place)
        self.down()
        if SOCKET.exists():
            raise LabError(
                f"Another cluster stands, {SOCKET} is its: run `down` with its CLUSTER_HOME, since both use the same ports."
            )
        self.place.state.mkdir(parents=True)
        for address in ADDRESSES:
            call("ip", "addr", "replace", f"{address}/32", "dev", "lo")
        certificates.make(self.place)
        configure(self.place)
        self._launch("relay-api", "relay-webhook", "containerd", "etcd", "apiserver")
        self._await("containerd")
        images.load_all(self.place)
        self._await("etcd", "apiserver")
        tekton.install(self.place)
        later = ("controller-manager", "scheduler", "kubelet", "tekton-webhook", "tekton-controller", "jaeger")
        self._launch(*later)
        self._await(*later)

    def down(self) -> None:
        """Stop everything and throw the state away; does nothing where nothing stands.

        Raises LabError if another process works with the cluster.
        """
        self._claim()
        if self.place.state.exists():
            self.place.asked("delete", "pods", "--all", "-A", "--grace-period=0", "--force", "--wait=false")
            wait_until(lambda: not _in_containerd("tasks"), PODS_GONE_WITHIN_S)  # the kubelet gives their networks back
            for name in self._components.keys() - {"containerd"}:
                self.stop(name)
            if SOCKET.exists():
                _remove_containers()
            self.stop("containerd")
            _unmount_below(self.place.state, SOCKET.parent)
            shutil.rmtree(self.place.state)
            shutil.rmtree(SOCKET.parent, ignore_errors=True)
            for address in ADDRESSES:
                run("ip", "addr", "del", f"{address}/32", "dev", "lo")
        _remove_networks()

    def start(self, name: str) -> None:
        """Start a component and wait until it works. Raises LabError, which names its log, if it does not."""
        self._launch(name)
        self._await(name)

    def stop(self, name: str) -> None:
        """Kill a component, since nothing of it is to be kept; does nothing if it does not run."""
        pid = self._pid(name)
        if pid is not None and not _kill(pid):
            raise LabError(f"{name} does not end though it was killed: see what it waits for in /proc/{pid}/stack.")
        self.place.pid_file(name).unlink(missing_ok=True)

    @contextmanager
    def away(self, name: str) -> Iterator[None]:
        """Kill a component, and start it when the context ends."""
        self.stop(name)
        try:
            yield
        finally:
            self.start(name)

    @contextmanager
    def frozen(self, name: str) -> Iterator[None]:
        """Let a component hang: it takes connections, and answers nothing until the context ends."""
        pid = self._pid(name)
        if pid is None:
            raise LabError(f"{name} does not run: start it first.")
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def compact_etcd(self) -> int:
        """Make etcd forget all that is not the present; give the revision that is the present. Raises LabError if it does not."""
        revision = int(_ask_etcd("range", {"key": "AA=="})["header"]["revision"])
        _ask_etcd("compaction", {"revision": str(revision), "physical": True})
        return revision

    def _claim(self) -> None:
        """Keep other processes from taking the cluster down, until this one ends: then the system lets go of the lock."""
        if self._claimed:
            return
        self.place.home.mkdir(parents=True, exist_ok=True)
        try:
            fcntl.flock(os.open(self.place.home / "lock", os.O_RDWR | os.O_CREAT), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LabError(f"Another process works with the cluster of {self.place.home}: wait until it has ended.") from error
        self._claimed = True

    def _launch(self, *names: str) -> None:
        for name in names:
            pid = _spawn(self._components[name], self.place.log(name))
            self.place.pid_file(name).write_text(str(pid))

    def _await(self, *names: str) -> None:
        for name in names:
            if not self._becomes_ready(name):
                log = self.place.log(name)
                raise LabError(f"{name} does not become ready: read its log, {log}, which ends with: {_last_line(log)}")

    def _becomes_ready(self, name: str) -> bool:
        is_ready = self._components[name].is_ready
        return wait_until(lambda: is_ready() or self._pid(name) is None, READY_WITHIN_S) and self._pid(name) is not None

    def _pid(self, name: str) -> int | None:
        """Give the process id of a component that runs: none that ended, nor a stranger's that has its number after a reboot."""
        try:
            pid = int(self.place.pid_file(name).read_text())
            running = Path(f"/proc/{pid}/exe").readlink()
        except (FileNotFoundError, ProcessLookupError):
            return None
        # A program that was built anew while it runs is said to be deleted.
        return pid if running.name.removesuffix(" (deleted)") == _program(self._components[name]).resolve().name else None


def _program(component: Component) -> Path:
    found = shutil.which(component.command[0])
    if found is None:
        raise LabError(f"There is no {component.command[0]}: run `build`.")
    return Path(found)


def _spawn(component: Component, log: Path) -> int:
    """Start a process that outlives this one; its output is added to its log."""
    program = _program(component)
    return os.posix_spawn(
        program,
        (program, *component.command[1:]),
        {**ENVIRONMENT, **component.environment},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )


def _kill(pid: int) -> bool:
    """Kill a process, wait until its last thread has ended, so that its ports are free; say whether it has."""
    with suppress(ProcessLookupError):
        process = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(process, signal.SIGKILL)
            ended, _, _ = select.select([process], [], [], STOPPED_WITHIN_S)
        finally:
            os.close(process)
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        return bool(ended)
    return True


def _ask_etcd(what: str, request: Json) -> Json:
    """Ask etcd over HTTP, since its own client is not among the programs."""
    connection = HTTPConnection("127.0.0.1", ETCD_PORT, timeout=STOPPED_WITHIN_S)
    connection.request("POST", f"/v3/kv/{what}", json.dumps(request))
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    if answer.status != HTTPStatus.OK:
        raise LabError(f"etcd answered {answer.status} to {what}: {content.decode(errors='replace')}")
    found: Json = json.loads(content)
    return found


def _last_line(log: Path) -> str:
    return (log.read_text(errors="replace").splitlines() or ["nothing"])[-1]


def _in_containerd(kind: str) -> list[str]:
    return run(*ctr_command(kind, "ls", "-q")).stdout.split()


def _remove_containers() -> None:
    """End what still runs in containerd, so that no shim is left behind."""
    for container in _in_containerd("containers"):
        run(*ctr_command("tasks", "rm", "-f", container))
        run(*ctr_command("containers", "rm", container))


def _remove_networks() -> None:
    """Take away the networks that the kubelet had no time to give back.

    A later Pod gets such an address anew, and the route that is left leads to the old one. Raises LabError if it stays.
    """
    for line in run("ip", "netns", "list").stdout.splitlines():
        name = line.split()[0]
        addresses = re.findall(r" inet (\S+)/", run("ip", "-n", name, "-o", "-4", "addr").stdout)
        if any(ip_address(one) in _PODS for one in addresses):
            run("ip", "netns", "delete", name)
    if not wait_until(lambda: not _pods_routes(), STOPPED_WITHIN_S):
        raise LabError(f"Routes to Pods of an earlier cluster are left, remove them: {_pods_routes()}.")


def _pods_routes() -> str:
    return run("ip", "route", "show", "root", str(_PODS)).stdout.strip()


def _unmount_below(*folders: Path) -> None:
    for line in reversed(Path("/proc/mounts").read_text().splitlines()):
        where = Path(line.split()[1])
        if any(where.is_relative_to(folder) for folder in folders):
            run("umount", "-l", where)
