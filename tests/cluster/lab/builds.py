"""How do the programs come to this machine? From Debian, and as Go modules at the versions in `modules/*/go.mod`.

Keeps: a program is built once for each text of its go.mod; where all are built, neither Go nor a network is needed.
"""

import hashlib
import json
import os
import platform
import re
import shutil
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from urllib.request import urlopen

from tests.cluster.lab.place import Place
from tests.cluster.lab.shell import ENVIRONMENT, LabError, call, run

MODULES = Path(__file__).parent / "modules"
MACHINE = "x86_64"

PACKAGES = {
    "buildah": "buildah",
    "busybox-static": "/bin/busybox",
    "ca-certificates": "/etc/ssl/certs/ca-certificates.crt",
    "chromium": "chromium",
    "containerd": "containerd",
    "containernetworking-plugins": "/usr/lib/cni/ptp",
    "faketime": "faketime",
    "fonts-dejavu-core": "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf",
    "iproute2": "ip",
    "iptables": "iptables",
    "openssl": "openssl",
    "prometheus": "promtool",
    "runc": "runc",
    "socat": "socat",
}
"""Debian's packages, each with a program or file that is there once it is installed."""

OLDEST_GO = (1, 26, 4)
GO_VERSION, GO_SHA256 = "go1.26.8", "30c2b1bf7dcc88d3eb0a1364e47ddd9128edb3110a30e8a0ef61cd5856b31de7"
GO_MODULE = f"golang.org/toolchain@v0.0.1-{GO_VERSION}.linux-amd64"
GO_SETTINGS = {"GOFLAGS": "-mod=mod", "CGO_ENABLED": "0", "GOTOOLCHAIN": "local"}

# Tekton refuses a server whose version it cannot parse, and a build outside Kubernetes' release scripts has none.
_VERSION = {"gitVersion": "v1.35.4", "gitMajor": "1", "gitMinor": "35", "gitCommit": "bench", "gitTreeState": "clean"}
_SETTINGS = [
    f"-X k8s.io/{at}/version.{key}={said}" for at in ("component-base", "client-go/pkg") for key, said in _VERSION.items()
]
LDFLAGS = " ".join(["-s -w", *_SETTINGS])


@dataclass(frozen=True, slots=True)
class Module:
    """A go.mod and what is built of it."""

    name: str
    path: str
    """The upstream module."""
    programs: Mapping[str, str]
    """The name of each program, by its package below `path`."""
    has_own_sums: bool = False
    """Whether upstream's go.sum is taken: some of its dependencies are unknown to the checksum database."""
    more_ldflags: tuple[str, ...] = ()
    """What the linker is told of this module's programs alone."""

    @property
    def go_mod(self) -> Path:
        """The file that says the versions."""
        return MODULES / self.name / "go.mod"

    @property
    def stamp(self) -> str:
        """What the programs are made of; another stamp means another build."""
        return hashlib.sha256(self.go_mod.read_bytes() + self.ldflags.encode()).hexdigest()

    @property
    def ldflags(self) -> str:
        """What the linker is told."""
        return " ".join([LDFLAGS, *self.more_ldflags])


KUBE_PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kubectl")
TEKTON_IMAGES = ("entrypoint", "nop", "workingdirinit", "sidecarlogresults")
"""Tekton's programs that run in a step's Pod."""
TEKTON = Module(
    "tekton",
    "github.com/tektoncd/pipeline",
    {f"cmd/{name}": f"tekton-{name}" for name in ("controller", "webhook", *TEKTON_IMAGES)},
)
_HELM = "helm.sh/helm/v3"
HELM = Module(
    "helm",
    _HELM,
    {"cmd/helm": "helm"},
    more_ldflags=tuple(  # else it takes every cluster that it cannot ask for Kubernetes 1.20, which the chart refuses
        f"-X {_HELM}/pkg/{package}.k8sVersion{part}={_VERSION[f'git{part}']}"
        for package in ("chartutil", "lint/rules")
        for part in ("Major", "Minor")
    ),
)
ALL_MODULES = (
    Module("etcd", "go.etcd.io/etcd/server/v3", {"": "etcd"}),
    HELM,
    Module("jaeger", "github.com/jaegertracing/jaeger", {"cmd/jaeger": "jaeger"}, has_own_sums=True),
    Module("kube", "k8s.io/kubernetes", {f"cmd/{name}": name for name in KUBE_PROGRAMS}),
    TEKTON,
)


def unfit(user_id: int, release: Mapping[str, str]) -> str:
    """Say in one sentence why no cluster can stand on a machine; nothing where one can: root on Debian 12.

    `release` is what os-release says.
    """
    if (release.get("ID"), release.get("VERSION_ID")) != ("debian", "12"):
        found = release.get("PRETTY_NAME", "another system")
        return f"The cluster stands on Debian 12 only, and this is {found}: use a container or a virtual machine of it."
    return "The cluster needs root: run it as root." if user_id else ""


def unfit_here() -> str:
    """Say in one sentence why no cluster can stand on this machine; nothing where one can."""
    try:
        release = platform.freedesktop_os_release()
    except OSError:  # no Linux
        release = {}
    return unfit(os.geteuid(), release)


def build(place: Place) -> None:
    """Bring every program to this machine; at once if all are there, in about ten minutes if none is.

    Raises LabError if a package, Go or a module cannot be had.
    """
    if platform.machine() != MACHINE:
        raise LabError(f"The cluster's images are made for {MACHINE}, and this is {platform.machine()}: use such a machine.")
    install(PACKAGES)
    build_modules(place, ALL_MODULES)


def build_modules(place: Place, modules: Iterable[Module]) -> None:
    """Build the programs of some modules; at once if all are there.

    Raises LabError if Go or a module cannot be had.
    """
    stale = [module for module in modules if not _is_built(place, module)]
    if stale:
        place.bin.mkdir(parents=True, exist_ok=True)
        go = _go(place)
        for module in stale:
            _build(place, module, go)


def install(packages: Iterable[str]) -> None:
    """Bring some of `PACKAGES` to this machine; at once if all are there.

    Raises LabError if one cannot be had.
    """
    missing = [one for one in packages if not (shutil.which(PACKAGES[one]) or Path(PACKAGES[one]).exists())]
    if missing:
        say(f"installing {', '.join(missing)} ...")
        call("apt-get", "update", "-qq")
        call("apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing, more={"DEBIAN_FRONTEND": "noninteractive"})


def say(sentence: str) -> None:
    """Tell whoever waits what is going on."""
    print(sentence, flush=True)  # noqa: T201 - a build takes minutes


def _stamp_file(place: Place, module: Module) -> Path:
    return place.bin / f".{module.name}"


def _is_built(place: Place, module: Module) -> bool:
    file = _stamp_file(place, module)
    return file.exists() and file.read_text() == module.stamp


def _build(place: Place, module: Module, go: Path) -> None:
    """Build in a scratch copy of the module, where go.sum is made, and leave the stamp last."""
    scratch = place.home / "src" / module.name
    scratch.mkdir(parents=True, exist_ok=True)
    shutil.copy(module.go_mod, scratch / "go.mod")
    if module.has_own_sums:
        (scratch / "go.sum").write_bytes((_source(module, scratch, go) / "go.sum").read_bytes())
    for package, program in module.programs.items():
        say(f"building {program} ...")
        target = f"{module.path}/{package}".rstrip("/")
        call(
            go,
            "build",
            "-trimpath",
            f"-ldflags={module.ldflags}",
            "-o",
            place.bin / program,
            target,
            folder=scratch,
            more=GO_SETTINGS,
        )
    if module is TEKTON:
        shutil.rmtree(place.tekton_config, ignore_errors=True)
        shutil.copytree(_source(module, scratch, go) / "config", place.tekton_config)
    _stamp_file(place, module).write_text(module.stamp)


def _source(module: Module, scratch: Path, go: Path) -> Path:
    """Find the folder with upstream's own files, at the version that go.mod says."""
    (version,) = re.findall(rf"{re.escape(module.path)} (v\S+)", module.go_mod.read_text())
    said = call(go, "mod", "download", "-json", f"{module.path}@{version}", folder=scratch, more=GO_SETTINGS)
    return Path(json.loads(said)["Dir"])


# ---------------------------------------------------------------- Go itself


def _go(place: Place) -> Path:
    """Find Go, or fetch it."""
    found = shutil.which("go")
    if found and _version(Path(found)) >= OLDEST_GO:
        return Path(found)
    fetched = place.home / GO_VERSION / "bin" / "go"
    if not fetched.exists():
        _fetch_go(place.home / GO_VERSION)
    return fetched


def _version(go: Path) -> tuple[int, ...]:
    said = run(go, "env", "GOVERSION", folder=Path("/"), more=GO_SETTINGS).stdout
    return tuple(int(part) for part in re.findall(r"\d+", said)[:3])


def _fetch_go(folder: Path) -> None:
    """Unpack the pinned toolchain, which the Go module proxy has as a module, where a half-unpacked one is never found."""
    path, version = GO_MODULE.split("@")
    url = f"{_proxy(ENVIRONMENT.get('GOPROXY', '').split(','))}/{path}/@v/{version}.zip"
    say(f"fetching {GO_VERSION} ...")
    try:
        with urlopen(url, timeout=60) as answer:  # noqa: S310 - the proxy is the user's, the content is checked
            content: bytes = answer.read()
    except OSError as error:
        wanted = ".".join(map(str, OLDEST_GO))
        raise LabError(f"There is no Go, and {url} does not give it ({error}): install Go {wanted} or newer.") from error
    if hashlib.sha256(content).hexdigest() != GO_SHA256:
        raise LabError(f"{url} is not the Go that is pinned (another SHA-256): set GOPROXY to a proxy that can be trusted.")
    half = folder.with_name(f"{folder.name}.half")
    shutil.rmtree(half, ignore_errors=True)
    with zipfile.ZipFile(BytesIO(content)) as packed:
        packed.extractall(half)
    top = half / GO_MODULE
    for program in [*(top / "bin").iterdir(), *(top / "pkg" / "tool").rglob("*")]:
        program.chmod(0o755)  # a module's zip says nothing of modes
    top.rename(folder)
    shutil.rmtree(half)


def _proxy(named: Iterable[str]) -> str:
    """Take the first proxy that is named, as Go would."""
    return next((one.rstrip("/") for one in named if one.startswith(("http://", "https://"))), "https://proxy.golang.org")
