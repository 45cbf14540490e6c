"""Who we are to the API server, in a Pod and on a laptop."""

import base64
from pathlib import Path

import pytest
import trustme
import yaml

from tests.kit import Json
from tracer.errors import ApiError, InputError
from tracer.kube.credentials import InCluster, Kubeconfig, find_api
from tracer.transport import tls_context

AUTHORITY = trustme.CA()


def write(folder: Path, user: Json, cluster: Json | None = None, context: str = "here") -> str:
    """Write a kubeconfig; give its path."""
    path = folder / "kubeconfig"
    said = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": context,
        "clusters": [{"name": "c", "cluster": {"server": "https://10.0.0.1:6443/", **(cluster or {})}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
    }
    path.write_text(yaml.safe_dump(said))
    return str(path)


@pytest.mark.row("A19", "S19")
def test_in_a_pod_the_mounted_token_is_read_each_time(tmp_path: Path) -> None:
    """A token that the kubelet wrote anew is used from the next request on; one that is gone is told by its path."""
    api = InCluster("https://10.96.0.1:443", tmp_path)
    (tmp_path / "token").write_text("one\n")
    assert api.headers(is_refused=False) == {"Authorization": "Bearer one"}
    (tmp_path / "token").write_text("two\n")
    assert api.headers(is_refused=False) == {"Authorization": "Bearer two"}
    assert api.transport.ca_file == str(tmp_path / "ca.crt")
    (tmp_path / "token").unlink()
    with pytest.raises(InputError, match=r"token cannot be read: No such file"):
        api.headers(is_refused=False)


def test_a_kubeconfig_with_certificates(tmp_path: Path) -> None:
    """Certificates that stand in the kubeconfig itself can be used for TLS; it is not written."""
    client = AUTHORITY.issue_cert("admin")
    key, certificate = client.private_key_pem.bytes(), client.cert_chain_pems[0].bytes()
    encoded = {"client-certificate-data": certificate, "client-key-data": key}
    user = {name: base64.b64encode(value).decode() for name, value in encoded.items()}
    authority = {"certificate-authority-data": base64.b64encode(AUTHORITY.cert_pem.bytes()).decode()}
    path = write(tmp_path, user, authority)
    before = Path(path).read_bytes()
    api = Kubeconfig(path)
    assert api.url == "https://10.0.0.1:6443"
    assert api.headers(is_refused=False) == {}
    assert tls_context(api.transport).cert_store_stats()["x509_ca"] == 1
    assert Path(path).read_bytes() == before


def test_a_kubeconfig_with_a_token(tmp_path: Path) -> None:
    """A token is sent as it stands there, and read anew after a refusal."""
    api = Kubeconfig(write(tmp_path, {"token": "one"}))
    write(tmp_path, {"token": "two"})
    assert api.headers(is_refused=False) == {"Authorization": "Bearer one"}
    assert api.headers(is_refused=True) == {"Authorization": "Bearer two"}


def test_a_kubeconfig_with_a_plugin(tmp_path: Path) -> None:
    """An exec plugin is asked, as kubectl asks it."""
    plugin = tmp_path / "plugin"
    plugin.write_text(
        '#!/bin/sh\necho \'{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"made"}}\'\n'
    )
    plugin.chmod(0o700)
    asked = {"apiVersion": "client.authentication.k8s.io/v1", "command": str(plugin), "interactiveMode": "Never"}
    assert Kubeconfig(write(tmp_path, {"exec": asked})).headers(is_refused=False) == {"Authorization": "Bearer made"}


@pytest.mark.parametrize("content", ["", "nothing", "a: [", "clusters: 3", "kind: Config\ncurrent-context: x\ncontexts: []"])
def test_a_bad_kubeconfig_is_one_sentence(tmp_path: Path, content: str) -> None:
    """A kubeconfig that cannot be used is told by its path."""
    (tmp_path / "kubeconfig").write_text(content)
    with pytest.raises(InputError, match=r"^The kubeconfig .*kubeconfig cannot be used: .*\.$"):
        Kubeconfig(str(tmp_path / "kubeconfig"))


def test_where_the_cluster_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kubeconfig that is named goes before the Pod's own account; without either there is one sentence."""
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ApiError, match="There is no cluster"):
        find_api({})
    path = write(tmp_path, {"token": "one"})
    assert find_api({"KUBECONFIG": path}).url == "https://10.0.0.1:6443"
    assert find_api({}, path).url == "https://10.0.0.1:6443"
    with pytest.raises(InputError, match="no-such-context"):
        find_api({}, path, "no-such-context")


@pytest.mark.row("S19")
@pytest.mark.parametrize("token", ["secret\nX-Evil: 1", "secret\x00"])
def test_a_token_that_no_header_can_have_is_told_without_it(tmp_path: Path, token: str) -> None:
    """A line break or a zero byte in a token is said in a sentence that does not hold it, in a Pod and on a laptop."""
    (tmp_path / "token").write_text(f"{token}\n")
    for api in (InCluster("https://10.96.0.1:443", tmp_path), Kubeconfig(write(tmp_path, {"token": token}))):
        with pytest.raises(InputError, match="a character that no header can have") as error:
            api.headers(is_refused=False)
        assert "secret" not in str(error.value)
