"""The claim of what the image is built of: it is what is tested, and says its version. `tests/cluster` tries to build it."""

import re
from pathlib import Path

from tests.kit import HERE
from tracer import __version__

REQUIREMENTS = HERE.parent / "requirements"


def locked(lock: Path) -> dict[str, tuple[str, ...]]:
    """Read a lock: the version of each package with the hashes that it may have."""
    found = re.findall(r"^([a-z0-9.-]+)==(.*?)\n(?! )", lock.read_text(), re.MULTILINE | re.DOTALL)
    return {name: tuple(re.findall(r"^\S+|--hash=\S+", said)) for name, said in found}


def test_it_is_built_of_what_is_tested() -> None:
    """The image's lock is that of every installation, without what only builds and with the one extra."""
    image, tested = locked(REQUIREMENTS / "image.txt"), locked(REQUIREMENTS / "run.txt")
    assert image.keys() - tested.keys() == {"uvloop"}
    assert tested.keys() - image.keys() == {"setuptools"}
    assert all(image[name] == tested[name] for name in image.keys() & tested.keys())
    assert all(len(said) > 1 for said in image.values())


def test_it_is_labelled_with_our_version() -> None:
    """A build that is told no version says the right one."""
    dockerfile = (HERE.parent / "deploy" / "Dockerfile").read_text()
    assert f"\nARG VERSION={__version__}\n" in dockerfile


def test_it_can_be_built_with_the_extra_for_an_old_jaeger() -> None:
    """Where two locks name the same package they agree, so that both can be installed at once; the extra brings few packages."""
    extra, tested = locked(REQUIREMENTS / "jaeger.txt"), locked(REQUIREMENTS / "dev.txt")
    assert all(extra[name] == tested[name] for name in extra.keys() & tested.keys())
    assert {"opentelemetry-exporter-jaeger-thrift", "thrift"} < extra.keys() - tested.keys()
    assert len(extra.keys() - locked(REQUIREMENTS / "image.txt").keys()) == 9
