"""The claim of the image: small, repeatable, nothing in it but what is locked, and all it needs where nothing may be written.

It is built by the Dockerfile that is shipped. No cluster is needed for it.
"""

import asyncio
import json
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.asked import kubeconfig
from tests.cluster.container import Unpacked, process_of, runc, unpack
from tests.cluster.lab.builds import install, unfit_here
from tests.cluster.lab.cluster import Cluster
from tests.cluster.lab.image_builds import ROOT, Built, build, gather
from tests.cluster.lab.shell import call, run
from tests.process.test_process import done
from tracer import __version__
from tracer.demo.apiserver import ApiServer
from tracer.demo.receiver import Receiver

MOST_BYTES = 80_000_000
"""Of the whole image, compressed as a registry keeps it."""
WITHIN_S = 60
LOCKED = dict(re.findall(r"^([a-z0-9.-]+)==(\S+)", (ROOT / "requirements" / "image.txt").read_text(), re.MULTILINE))
UNWANTED = re.compile(
    r"(.*/)?(([bd]a|z)?sh|busybox|cc|[cg]\+\+|gcc.*|clang.*|ld|as|make|apt.*|dpkg.*|perl.*|curl|wget|pip[\d.]*|easy_install.*)|.*\.whl"
)
"""Programs, and packages of Python, that would help whoever breaks in."""
NOT_COMPILED = """\
import os, sys
import tracer.app, tracer.cli, uvloop
compiled = {name: getattr(module, "__cached__", None) for name, module in sys.modules.items()}
print([name for name, path in compiled.items() if path and not os.path.exists(path)], sum(map(bool, compiled.values())))
"""


@pytest.fixture(scope="module")
def built() -> Iterator[Built]:
    """Build the image of this checkout, and keep nothing of it: it is large."""
    if reason := unfit_here():
        pytest.skip(reason)
    install(["buildah", "runc"])
    with TemporaryDirectory() as folder:
        yield _built(Path(folder))


@pytest.fixture(scope="module")
def image(built: Built) -> Iterator[Unpacked]:
    """Give the image's files."""
    with TemporaryDirectory() as folder:
        yield unpack(built.archive, Path(folder))


def _built(folder: Path) -> Built:
    gather(folder / "wheelhouse")
    return build(Cluster.of_environment().place, folder / "wheelhouse", folder / "tracer.tar")


def test_it_says_what_it_is(image: Unpacked) -> None:
    """Its user is a number that is nobody's, it runs `tracer` and nothing else, and its labels are true."""
    said = image.config["config"]
    assert said["User"] == "65532:65532"
    assert said["Entrypoint"] == ["tracer"]
    assert not said.get("Cmd")
    labels = {name.removeprefix("org.opencontainers.image."): value for name, value in said["Labels"].items()}
    assert (labels["title"], labels["version"], labels["licenses"]) == ("tracer", __version__, "Apache-2.0")


def test_it_has_what_is_locked_and_nothing_else(image: Unpacked) -> None:
    """Its packages are those of the lock, in their versions, and our own."""
    found = {
        re.sub(r"[-_.]+", "-", path.name.removesuffix(".dist-info").rpartition("-")[0]).lower(): path.name
        for path in image.system.rglob("*.dist-info")
    }
    assert found.keys() == {*LOCKED, "tekton-tracer"}
    assert all(f"-{version}.dist-info" in found[name] for name, version in LOCKED.items())


def test_there_is_nothing_to_build_or_install_with(image: Unpacked) -> None:
    """No shell, no compiler, no pip, no setuptools."""
    found = [str(path.relative_to(image.system)) for path in image.system.rglob("*")]
    assert len(found) > 1000
    programs = [one for one in found if "/bin/" in f"/{one}" or "/sbin/" in f"/{one}" or one.endswith(".whl")]
    assert [one for one in programs if UNWANTED.fullmatch(one)] == []
    assert [one for one in found if re.search(r"-packages/(pip|setuptools|wheel)(-|$)", one)] == []


def test_nothing_can_be_written_but_what_is_temporary(image: Unpacked) -> None:
    """Were its root not read-only, its user could write to the base's folders for temporary files and locks alone."""
    found = {str(one.relative_to(image.system)): one.lstat() for one in image.system.rglob("*") if not one.is_symlink()}
    assert {name for name, stat in found.items() if stat.st_mode & 0o002} <= {"tmp", "var/tmp", "run/lock", "var/lock"}
    assert {(stat.st_uid, stat.st_gid) for stat in found.values()} == {(0, 0)}


def test_it_runs_where_nothing_is_allowed(image: Unpacked, tmp_path: Path) -> None:
    """As its own user, without a home, with a root that can only be read and no right at all, it plays a recording."""
    version = call(*runc(image, tmp_path / "version", "tracer", "version"))
    assert version.startswith(f"tracer {__version__},")
    assert {f"  {name} {one}".casefold() for name, one in LOCKED.items()} >= {
        line.casefold() for line in version.splitlines()[1:]
    }
    played = call(*runc(image, tmp_path / "demo", "tracer", "demo", "--speed", "100"))
    assert "11 spans, all of them acknowledged" in played
    refused = run(*runc(image, tmp_path / "writing", "python3", "-c", "open('/tmp/x', 'w')"))
    assert "Read-only file system" in refused.stderr


def test_all_that_the_controller_loads_is_compiled(image: Unpacked, tmp_path: Path) -> None:
    """Python's own library too, so that no start spends its time on it; nothing could be kept of that."""
    missing, _, count = call(*runc(image, tmp_path / "loading", "python3", "-c", NOT_COMPILED)).partition(" ")
    assert missing == "[]"
    assert int(count) > 300


def test_it_knows_whom_to_trust(image: Unpacked, tmp_path: Path) -> None:
    """A backend's certificate is checked against the authorities that the base brings."""
    ask = "import ssl; print(ssl.create_default_context().cert_store_stats()['x509_ca'])"
    assert int(call(*runc(image, tmp_path / "asking", "python3", "-c", ask))) > 100


def test_the_controller_runs_in_it_on_uvloop(image: Unpacked, tmp_path: Path) -> None:
    """It watches and delivers, on the loop of the extra that the image brings, and ends well when it is asked to."""

    async def main() -> None:
        async with ApiServer() as server, Receiver() as receiver, asyncio.timeout(WITHIN_S):
            server.put(done())
            known = {"/etc/tracer/kubeconfig": kubeconfig(tmp_path, server.url, "default")}
            arguments = ("run", "--kubeconfig", *known, "--otlp-endpoint", receiver.url, "--listen", "127.0.0.1:0")
            command = runc(image, tmp_path / "running", "tracer", *arguments, mounts=known)
            process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
            while not receiver.spans:
                assert process.returncode is None
                await asyncio.sleep(0.01)  # another process: there is nothing to wait on
            loaded = _loaded_by(process_of(tmp_path / "running"))
            process.terminate()
            _, said = await process.communicate()
        assert "/uvloop/loop." in loaded
        assert process.returncode == 0, said
        assert json.loads(said.splitlines()[-1])["event"] == "stopped"

    asyncio.run(main())


def _loaded_by(process_id: int) -> str:
    return Path(f"/proc/{process_id}/maps").read_text()


def test_it_is_small(image: Unpacked, say: Callable[[str], None]) -> None:
    """Less than 80 MB to pull."""
    sizes = [len(zlib.compress(layer.read_bytes(), 6)) for layer in image.layers]
    say(f"The image: {sum(sizes) / 1e6:.0f} MB compressed, {sizes[0] / 1e6:.0f} MB of them its base.")
    assert sum(sizes) < MOST_BYTES


def test_the_same_checkout_makes_the_same_image(built: Built) -> None:
    """Gathered and built again it is the same to the last byte, though nothing of the first build is left."""
    with TemporaryDirectory() as folder:
        again = _built(Path(folder))
        assert again.digest == built.digest
        assert again.archive.read_bytes() == built.archive.read_bytes()


def test_the_bill_of_materials_names_what_is_locked(tmp_path: Path) -> None:
    """`make sbom` names us, and every package, in its version and with its hashes."""
    if reason := unfit_here():
        pytest.skip(reason)
    bill = tmp_path / "bill.json"
    call("make", "-C", ROOT, "sbom", f"SBOM={bill}")
    said = json.loads(bill.read_text())
    assert said["bomFormat"] == "CycloneDX"
    product = said["metadata"]["component"]
    assert (product["type"], product["name"], product["version"]) == ("application", "tekton-tracer", __version__)
    assert {one["name"]: one["version"] for one in said["components"]} == LOCKED
    assert all(one["purl"] and one["externalReferences"][0]["hashes"] for one in said["components"])
