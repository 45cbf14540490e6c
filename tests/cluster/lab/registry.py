"""Where do images come from that a node does not have? A registry on loopback that has one, busybox under any name and tag."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.cluster.lab import images

PORT = 1338
"""The one that the recording `image-pull` names."""
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_PARTS = ("application/vnd.oci.image.config.v1+json", "application/vnd.oci.image.layer.v1.tar")


@contextmanager
def registry() -> Iterator[None]:
    """Serve it; containerd asks an address on loopback without TLS."""
    with TemporaryDirectory() as scratch:
        # An entrypoint makes it another image than the node's own: the kubelet takes two names of one for each other.
        image = images.Image("", images.lay_out_busybox(Path(scratch, "busybox")), ("/bin/sh",))
        layer = images.layer_of(image)
    parts = (images.config_of(image, layer), layer)
    config, only_layer = (
        {"mediaType": of_type, "digest": f"sha256:{images.digest(part)}", "size": len(part)}
        for of_type, part in zip(_PARTS, parts, strict=True)
    )
    described = {"schemaVersion": 2, "mediaType": _MANIFEST, "config": config, "layers": [only_layer]}
    manifest = json.dumps(described).encode()
    blobs = {f"sha256:{images.digest(part)}": part for part in (*parts, manifest)}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            *_, kind, name = self.path.partition("?")[0].split("/")
            content = manifest if kind == "manifests" else blobs.get(name, b"")
            is_known = kind in {"manifests", "v2"} or name in blobs
            self.send_response(HTTPStatus.OK if is_known else HTTPStatus.NOT_FOUND)
            self.send_header("Content-Type", _MANIFEST if kind == "manifests" else "application/octet-stream")
            self.send_header("Content-Length", str(len(content)))
            if kind == "manifests":
                self.send_header("Docker-Content-Digest", f"sha256:{images.digest(content)}")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_HEAD = do_GET  # noqa: N815 - what http.server calls it

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", PORT), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
