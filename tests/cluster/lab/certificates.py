"""Who trusts whom? One authority, the API server's certificate, the admin's, and the key that signs ServiceAccounts' tokens."""

import base64
import json

from tests.cluster.lab.place import API_ADDRESS, API_PORT, NODE_ADDRESS, Place
from tests.cluster.lab.shell import call

_DAYS = ("-days", "30")
_SINCE = "-1d"  # whose clock is late trusts them too
_API_NAMES = ["DNS:localhost", "DNS:kubernetes", "DNS:kubernetes.default", "DNS:kubernetes.default.svc"]
_API_ADDRESSES = ["IP:127.0.0.1", f"IP:{NODE_ADDRESS}", f"IP:{API_ADDRESS}"]


def make(place: Place) -> None:
    """Make certificates and the admin's kubeconfig."""
    place.pki.mkdir()
    new_key = ("-newkey", "rsa:2048", "-nodes", "-keyout")
    _openssl(place, "req", "-x509", *new_key, "ca.key", *_DAYS, "-out", "ca.crt", "-subj", "/CN=bench-ca")
    for name, subject, extension in (
        ("apiserver", "/CN=kube-apiserver", f"subjectAltName={','.join(_API_NAMES + _API_ADDRESSES)}"),
        ("admin", "/O=system:masters/CN=admin", "extendedKeyUsage=clientAuth"),
    ):
        (place.pki / f"{name}.ext").write_text(extension)
        _openssl(place, "req", *new_key, f"{name}.key", "-out", f"{name}.csr", "-subj", subject)
        signed_by = ("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", f"{name}.ext")
        _openssl(place, "x509", "-req", *_DAYS, "-in", f"{name}.csr", *signed_by, "-out", f"{name}.crt")
    _openssl(place, "genrsa", "-out", "sa.key", "2048")
    _openssl(place, "rsa", "-in", "sa.key", "-pubout", "-out", "sa.pub")
    _write_kubeconfig(place)


def _openssl(place: Place, *arguments: str) -> None:
    call("faketime", "-f", _SINCE, "openssl", *arguments, folder=place.pki)


def _write_kubeconfig(place: Place) -> None:
    ca, certificate, key = (
        base64.b64encode((place.pki / name).read_bytes()).decode() for name in ("ca.crt", "admin.crt", "admin.key")
    )
    server = {"server": f"https://127.0.0.1:{API_PORT}", "certificate-authority-data": ca}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "bench",
        "clusters": [{"name": "bench", "cluster": server}],
        "users": [{"name": "admin", "user": {"client-certificate-data": certificate, "client-key-data": key}}],
        "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "admin", "namespace": "default"}}],
    }
    place.kubeconfig.write_text(json.dumps(config, indent=1))
