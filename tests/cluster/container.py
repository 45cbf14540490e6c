"""How is an image run without a cluster? By runc, as in a Pod that meets the strictest of Kubernetes' standards, "restricted".

Keeps: the root can only be read, there is no capability and no way to get one, and of the environment only what the image says.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.lab.place import Json
from tests.cluster.lab.shell import call

_SETS = ("bounding", "effective", "permitted", "inheritable", "ambient")


@dataclass(frozen=True, slots=True)
class Unpacked:
    """An image, taken out of its archive."""

    system: Path
    """The folder with its files."""
    config: Json
    """What it says of itself."""
    layers: tuple[Path, ...]
    """The archives of its layers, from the base up."""


def unpack(archive: Path, folder: Path) -> Unpacked:
    """Take an image out of a docker-archive in which no layer removes anything."""
    system, parts = folder / "system", folder / "parts"
    for one in (system, parts):
        one.mkdir(parents=True)
    call("tar", "--extract", "--file", archive, "--directory", parts)
    (manifest,) = json.loads((parts / "manifest.json").read_text())
    layers = tuple(parts / one for one in manifest["Layers"])
    for layer in layers:
        call("tar", "--extract", "--preserve-permissions", "--file", layer, "--directory", system)
    return Unpacked(system, json.loads((parts / manifest["Config"]).read_text()), layers)


def runc(image: Unpacked, bundle: Path, *command: str, mounts: Mapping[str, Path] | None = None) -> tuple[str, ...]:
    """Give what runs a command of the image, by the user and in the environment that the image says, in the host's network.

    `bundle` is a new folder, whose name is the container's. What is mounted can only be read.
    """
    user, _, group = image.config["config"]["User"].partition(":")
    bound = [
        {"destination": to, "source": str(of), "type": "none", "options": ["bind", "ro"]} for to, of in (mounts or {}).items()
    ]
    config = {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": int(user), "gid": int(group)},
            "args": list(command),
            "env": image.config["config"]["Env"],
            "cwd": "/",
            "capabilities": {name: [] for name in _SETS},
            "noNewPrivileges": True,
        },
        "root": {"path": str(image.system), "readonly": True},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
            *bound,
        ],
        "linux": {"namespaces": [{"type": one} for one in ("pid", "mount", "ipc", "uts")]},
    }
    bundle.mkdir()
    (bundle / "config.json").write_text(json.dumps(config))
    return (*_runc(bundle), "run", "--bundle", str(bundle), bundle.name)


def process_of(bundle: Path) -> int:
    """Say which process is the container's, as the host sees it. Raises LabError if it does not run."""
    return int(json.loads(call(*_runc(bundle), "state", bundle.name))["pid"])


def _runc(bundle: Path) -> tuple[str, ...]:
    return ("runc", "--root", str(bundle / "state"))
