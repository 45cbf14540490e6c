"""Who are we to the API server, and where is it? The one door to `kubernetes`, which makes no call for us.

Keeps: in a Pod the mounted token is read again when it changes; a kubeconfig is read, with its certificates, tokens and exec
plugins, and never written.
Must not know: what is asked.
Source: client-go rest/config.go (InClusterConfig).
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tracer.errors import ApiError, InputError
from tracer.transport import TransportSettings, header_fault

MOUNTED = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_DEFAULT_NAMESPACE = "default"
_HOST, _PORT = "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"


@dataclass(frozen=True, slots=True)
class InCluster:
    """A Pod's own account."""

    url: str
    mounted: Path = MOUNTED

    @property
    def transport(self) -> TransportSettings:
        """The cluster's own authority."""
        path = str(self.mounted / "ca.crt")
        return TransportSettings(ca_file=path, ca_named=path, files_named=path)

    @property
    def namespace(self) -> str:
        """The Pod's own one."""
        try:
            return (self.mounted / "namespace").read_text().strip()
        except (OSError, ValueError):
            return _DEFAULT_NAMESPACE

    def headers(self, *, is_refused: bool) -> dict[str, str]:  # noqa: ARG002 - the file is read each time: requests are few
        """Read the token, which the kubelet writes anew before it expires. Raises InputError if it cannot be read."""
        path = self.mounted / "token"
        try:
            return _authorization(f"Bearer {path.read_text().strip()}", f"The account's token {path}")
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "not text"
            raise InputError(f"The account's token {path} cannot be read: {why}.") from error


@dataclass(slots=True)
class Kubeconfig:
    """A person's account, as kubectl has it."""

    path: str
    """Empty for where kubectl looks."""
    context: str = ""
    """Empty for the current one."""
    url: str = ""
    transport: TransportSettings = field(default_factory=TransportSettings)
    _token: str = ""

    def __post_init__(self) -> None:
        """Read it."""
        self._read()

    @property
    def namespace(self) -> str:
        """The one that its context names."""
        from kubernetes.config import list_kube_config_contexts  # noqa: PLC0415 - as in _read

        contexts, current = list_kube_config_contexts(self.path or None)  # type: ignore[no-untyped-call] # it has no types
        chosen = next((one for one in contexts if one["name"] == self.context), current)
        return str(chosen["context"].get("namespace") or _DEFAULT_NAMESPACE)

    def headers(self, *, is_refused: bool) -> dict[str, str]:
        """Say who we are; after a refusal the kubeconfig is read anew, plugins too. Raises InputError if it cannot be used."""
        if is_refused:
            self._read()
        return _authorization(self._token, "The token in the kubeconfig") if self._token else {}

    def _read(self) -> None:
        from kubernetes.config import load_kube_config  # noqa: PLC0415 - it takes a third of a second, and no Pod needs it

        said = _Said()
        try:
            load_kube_config(  # type: ignore[no-untyped-call] # it has no types
                self.path or None,
                context=self.context or None,
                client_configuration=said,
                persist_config=False,
            )
        except Exception as error:
            raise InputError(f"The kubeconfig {self.path or 'that kubectl uses'} cannot be used: {self._why(error)}.") from error
        self.url, self._token = said.host.rstrip("/"), said.api_key.get("BearerToken", "")
        self.transport = TransportSettings(
            ca_file=said.ssl_ca_cert or "",
            cert_file=said.cert_file or "",
            key_file=said.key_file or "",
            proxy=said.proxy or "",
            is_verified=said.verify_ssl,
            server_name=said.tls_server_name or "",
            ca_named="certificate-authority in the kubeconfig",
            files_named="the kubeconfig's certificates",
        )

    def _why(self, error: Exception) -> str:
        """Say what is wrong, without what the loader's own errors may quote."""
        from kubernetes.config import ConfigException  # noqa: PLC0415 - as in _read

        if self.path and not any(Path(one).expanduser().exists() for one in self.path.split(os.pathsep)):
            return "there is no such file"
        if not isinstance(error, ConfigException):
            return "it is not what kubectl writes"
        first = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        return f"it has no context {self.context}" if self.context and "contexts list" in first else first


class _Said:
    """What the loader writes; a stand-in for the client's own configuration, which would bring the whole client."""

    def __init__(self) -> None:
        self.host = ""
        self.ssl_ca_cert = self.cert_file = self.key_file = self.proxy = self.tls_server_name = None
        self.verify_ssl = True
        self.api_key: dict[str, str] = {}
        self.refresh_api_key_hook: Any = None


def _authorization(value: str, named: str) -> dict[str, str]:
    """Make the header. Raises InputError, without its value, if no header can have it: a token with a line break, say."""
    if header_fault("Authorization", value):
        raise InputError(f"{named} cannot be sent: it holds a character that no header can have.")
    return {"Authorization": value}


def find_api(environment: Mapping[str, str], kubeconfig: str = "", context: str = "") -> InCluster | Kubeconfig:
    """Find the API server: in a Pod its own, unless a kubeconfig is named; else that of the kubeconfig.

    Raises InputError if what is named cannot be used, ApiError if there is neither.
    """
    path = kubeconfig or environment.get("KUBECONFIG", "")
    if not path and not context and environment.get(_HOST) and (MOUNTED / "token").exists():
        host, port = environment[_HOST], environment.get(_PORT, "443")
        return InCluster(f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}")
    if not path and not Path("~/.kube/config").expanduser().exists():
        raise ApiError("There is no cluster: not in a Pod, and no kubeconfig; give --kubeconfig FILE or set KUBECONFIG.")
    return Kubeconfig(path, context)
