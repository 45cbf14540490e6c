"""Which container images are there? Archives made of folders, since no registry is asked for any."""

import hashlib
import io
import json
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.cluster.lab.builds import TEKTON_IMAGES
from tests.cluster.lab.place import Place, ctr_command
from tests.cluster.lab.shell import call

REGISTRY = "bench.local"
BUSYBOX, PAUSE = f"{REGISTRY}/busybox:1", f"{REGISTRY}/pause:1"
_KNOWN_BUSYBOX = "docker.io/library/busybox:1"
"""The same under the name by which everybody knows it, so that the documents' examples run here too."""
_SEARCH_PATH = "PATH=/bin:/usr/bin:/usr/local/bin:/ko-app"


@dataclass(frozen=True, slots=True)
class Image:
    """A folder that becomes an image of one layer."""

    name: str
    folder: Path
    entrypoint: tuple[str, ...] = ()
    """Empty for a shell."""


def of_tekton(program: str) -> str:
    """Name the image of one of Tekton's programs."""
    return f"{REGISTRY}/{program}:1"


def load_all(place: Place) -> None:
    """Give containerd every image that a step of busybox, or Tekton itself, needs."""
    with TemporaryDirectory(dir=place.state) as scratch:
        busybox = lay_out_busybox(Path(scratch, "busybox"))
        images = [Image(BUSYBOX, busybox), Image(_KNOWN_BUSYBOX, busybox), Image(PAUSE, busybox, ("/bin/sleep", "2147483647"))]
        for program in TEKTON_IMAGES:
            folder = Path(scratch, program)
            (folder / "ko-app").mkdir(parents=True)
            (folder / "tmp").mkdir()
            shutil.copy(place.bin / f"tekton-{program}", folder / "ko-app" / program)
            images.append(Image(of_tekton(program), folder, (f"/ko-app/{program}",)))
        load_folders(place, *images)


def load_folders(place: Place, *images: Image) -> None:
    """Give containerd images made of folders."""
    with TemporaryDirectory(dir=place.state) as scratch:
        archive = Path(scratch, "images.tar")
        write_archive(archive, images)
        load(archive)


def load(archive: Path) -> str:
    """Give containerd the images of a docker-archive or an OCI archive; tell their names."""
    return call(*ctr_command("images", "import", archive))


def lay_out_busybox(folder: Path) -> Path:
    """Lay out a small system of Debian's static busybox."""
    for name in ("bin", "tmp", "etc", "root", "usr", "var", "home"):
        (folder / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", folder / "bin" / "busybox")
    for applet in call("/bin/busybox", "--list").split():
        if applet != "busybox":
            (folder / "bin" / applet).symlink_to("busybox")
    (folder / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n")
    (folder / "etc" / "group").write_text("root:x:0:\n")
    return folder


def write_archive(path: Path, images: tuple[Image, ...]) -> None:
    """Write a docker-archive. A layer that two images share stands in it once."""
    manifest, written = [], set[str]()
    with tarfile.open(path, "w") as archive:

        def add(name: str, content: bytes) -> None:
            if name not in written:
                written.add(name)
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))

        for image in images:
            layer = layer_of(image)
            layer_id, config = digest(layer), config_of(image, layer)
            config_id = digest(config)
            add(f"{layer_id}/layer.tar", layer)
            add(f"{config_id}.json", config)
            manifest.append({"Config": f"{config_id}.json", "RepoTags": [image.name], "Layers": [f"{layer_id}/layer.tar"]})
        add("manifest.json", json.dumps(manifest).encode())


def digest(content: bytes) -> str:
    """Give the name by which an image's parts know each other."""
    return hashlib.sha256(content).hexdigest()


def config_of(image: Image, layer: bytes) -> bytes:
    """Write what an image says of itself."""
    command = {"Entrypoint": list(image.entrypoint)} if image.entrypoint else {"Cmd": ["/bin/sh"]}
    config = {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest(layer)}"]},
        "config": {"Env": [_SEARCH_PATH], **command},
    }
    return json.dumps(config).encode()


def layer_of(image: Image) -> bytes:
    """Pack an image's folder: the same files always give the same bytes."""

    def without_trace(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = entry.mtime = 0
        entry.uname = entry.gname = ""
        return entry

    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as layer:
        for path in sorted(image.folder.rglob("*")):
            layer.add(path, path.relative_to(image.folder), recursive=False, filter=without_trace)
    return packed.getvalue()
