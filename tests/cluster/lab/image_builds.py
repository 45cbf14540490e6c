"""How is `tracer`'s image built here? By the Dockerfile that is shipped, on a base like the one that it names, without a network.

Keeps: the base is made once for each list of its packages; of a build nothing is left but its archive.
"""

import hashlib
import inspect
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.cluster.lab.builds import say
from tests.cluster.lab.images import REGISTRY, Image, write_archive
from tests.cluster.lab.place import Place
from tests.cluster.lab.shell import Argument, call

ROOT = Path(__file__).parents[3]
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
NAME = f"{REGISTRY}/tracer:1"
PYTHON = "3.11"
"""Debian 12's."""

BASE_PACKAGES = (
    *("base-files", "ca-certificates", "netbase", "tzdata"),
    *("libc6", "libgcc-s1", "libssl3", "libstdc++6", "zlib1g"),
    *("libbz2-1.0", "libcrypt1", "libdb5.3", "libexpat1", "libffi8", "liblzma5", "libncursesw6", "libreadline8", "libsqlite3-0"),
    *("libtinfo6", "libuuid1", f"libpython{PYTHON}-minimal", f"libpython{PYTHON}-stdlib", f"python{PYTHON}-minimal"),
)
"""Debian's packages in the base: those of distroless' image of Python, but for what nothing here loads."""


@dataclass(frozen=True, slots=True)
class Built:
    """An image that was built."""

    archive: Path
    """A docker-archive, its layers uncompressed."""
    name: str
    """What `images.load` calls it in containerd."""
    digest: str
    """Of its configuration, which names all of its layers: two images with the same digest are the same."""


def gather(wheelhouse: Path) -> None:
    """Fill a folder with what the image is built of, as `make wheelhouse` does, for the base's Python; this needs the network.

    Raises LabError if a wheel cannot be had.
    """
    call("make", "-C", ROOT, "wheelhouse", f"WHEELHOUSE={wheelhouse}", f"BASE_PYTHON={PYTHON}")


def build(place: Place, wheelhouse: Path, archive: Path) -> Built:
    """Build the image from a folder that was filled, in about 20 seconds, with no network at hand. Needs root and buildah.

    Raises LabError with buildah's own words if it cannot be built.
    """
    base = _base(place)
    with TemporaryDirectory(dir=place.home) as scratch:
        storage = ("--root", f"{scratch}/root", "--runroot", f"{scratch}/runroot", "--storage-driver", "vfs")
        identity = Path(scratch, "identity")
        arguments: tuple[Argument, ...] = (
            *("--isolation", "chroot", "--timestamp", "0", "--iidfile", identity),
            *("--build-arg", f"BASE=docker-archive:{base}", "--file", DOCKERFILE, wheelhouse),
        )
        call("unshare", "--net", "buildah", *storage, "build", *arguments)
        digest = identity.read_text().strip()
        archive.unlink(missing_ok=True)
        call("buildah", *storage, "push", "--quiet", digest, f"docker-archive:{archive}:{NAME}")
    return Built(archive, NAME, digest)


def _base(place: Place) -> Path:
    """Give the archive of the base; whoever asks first makes it."""
    made_of = f"{BASE_PACKAGES}{inspect.getsource(_lay_out)}"
    archive = place.home / "base" / f"{hashlib.sha256(made_of.encode()).hexdigest()}.tar"
    if not archive.exists():
        say("making the base of the image ...")
        archive.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=archive.parent) as scratch:
            half, system = Path(scratch, "half"), Path(scratch, "system")
            _lay_out(system, Path(scratch))
            write_archive(half, (Image(f"{REGISTRY}/python:1", system, ("/usr/bin/python3",)),))
            half.rename(archive)
    return archive


def _lay_out(system: Path, scratch: Path) -> None:
    """Unpack Debian's packages and do nothing more: there is no shell, nothing to install with, and no compiled Python."""
    call("apt-get", "update", "-qq")
    call("apt-get", "download", "-qq", *BASE_PACKAGES, folder=scratch)
    for package in scratch.glob("*.deb"):
        call("dpkg-deb", "--extract", package, system)
    (system / "usr" / "bin" / "python3").symlink_to(f"python{PYTHON}")
    authorities = sorted((system / "usr" / "share" / "ca-certificates").rglob("*.crt"))
    trusted = Path("etc", "ssl", "certs", "ca-certificates.crt")  # what is made when the package is installed
    (system / trusted).write_text("".join(one.read_text() for one in authorities))
    (system / "usr" / "lib" / "ssl").mkdir()
    (system / "usr" / "lib" / "ssl" / "cert.pem").symlink_to(Path("/", trusted))
