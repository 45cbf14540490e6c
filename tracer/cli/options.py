"""How are settings given, and which cluster is meant? Flags, the environment, files."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from tracer.config import KEYS, Key
from tracer.errors import InputError
from tracer.kube.credentials import InCluster, Kubeconfig, find_api
from tracer.settings import CONFIG_VARIABLE, Settings, load

RENDERING = ("spans.", "service.", "cluster.")
"""What enters the bytes of a span."""
SENDING_OTLP = ("otlp.",)
SENDING = ("exporter", *SENDING_OTLP, "jaeger.")
WATCHING = ("watch.",)
SERVING = ("listen", "stuck_after_s", "log.")
REMEMBERING = ("lookback", "leader.")
EVERYTHING = ("",)
_FILE_BYTES = 1 << 20
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_ENVIRONMENT = os.environ  # noqa: TID251 - here it is read, and nowhere else


def settings_options(*prefixes: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command `--config` and a flag for each key that begins with one of the prefixes; they arrive as keywords."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for key in reversed([key for key in KEYS.values() if key.name.startswith(prefixes)]):
            command = click.option(key.flag, _parameter(key), metavar=_metavar(key), help=_help(key))(command)
        about = f"Settings from a YAML file; flags and the environment go before it.  [{CONFIG_VARIABLE}]"
        return click.option("--config", "config_file", metavar="FILE", help=about)(command)

    return decorate


def read_settings(config_file: str | None, given: Mapping[str, str | None], *, sends: bool = True) -> Settings:
    """Put the settings together from what `settings_options` gave a command. Raises InputError if they cannot be used."""
    flags = {key.name: value for key in KEYS.values() if (value := given.get(_parameter(key))) is not None}
    path = config_file or _ENVIRONMENT.get(CONFIG_VARIABLE)
    return load(flags, _ENVIRONMENT, (path, _read(path)) if path else None, sends=sends)


def cluster_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `--kubeconfig` and `--context`; they arrive as keywords."""
    command = click.option("--context", metavar="NAME", help="The kubeconfig's context; default: its current one.")(command)
    about = "Credentials for the cluster; default: KUBECONFIG, the Pod's own account, or ~/.kube/config."
    return click.option("--kubeconfig", metavar="FILE", help=about)(command)


def namespace_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `--namespace`, as often as one likes, and `--all-namespaces`; they arrive as keywords."""
    command = click.option("-A", "--all-namespaces", is_flag=True, help="Look at every namespace.")(command)
    about = "Look at this namespace; may be repeated; default: the one of the kubeconfig's context, or the Pod's own."
    return click.option("-n", "--namespace", "namespaces", metavar="NS", multiple=True, help=about)(command)


def open_api(kubeconfig: str | None, context: str | None) -> InCluster | Kubeconfig:
    """Find the API server that is meant. Raises InputError if what is named cannot be used, ApiError if there is none."""
    return find_api(_ENVIRONMENT, kubeconfig or "", context or "")


def read_namespaces(given: Sequence[str], *, all_namespaces: bool, default: str) -> tuple[str, ...]:
    """Say which namespaces are meant; the empty name stands for all of them. Raises InputError if that cannot be said."""
    if given and all_namespaces:
        raise InputError("--namespace and --all-namespaces exclude each other; give one of them.")
    wrong = next((name for name in given if not _NAMESPACE.fullmatch(name)), None)
    if wrong is not None:
        raise InputError(f"{wrong!r} is no namespace; give a name of lower-case letters, digits and dashes.")
    return ("",) if all_namespaces else tuple(dict.fromkeys(given)) or (default,)


def say_namespaces(namespaces: Sequence[str]) -> str:
    """Name namespaces for people, within a sentence."""
    if "" in namespaces:
        return "all namespaces"
    return f"namespace{'s' * (len(namespaces) > 1)} {', '.join(namespaces)}"


def _read(path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            content = file.read(_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(f"The configuration {path} cannot be read: {why}.") from error
    if len(content) > _FILE_BYTES:
        raise InputError(f"The configuration {path} is larger than 1 MiB; that is none.")
    return content


def _parameter(key: Key) -> str:
    return key.name.replace(".", "_")


def _metavar(key: Key) -> str:
    words = key.allowed.split(", ")
    if len(words) > 1 and all(word.isalnum() for word in words):
        return f"[{'|'.join(words)}]"
    return "FILE" if key.name.endswith("_file") else "URL" if key.name.endswith("endpoint") else "TEXT"


def _help(key: Key) -> str:
    default = "" if key.default in {"", ()} or isinstance(key.default, tuple) else f"; default: {str(key.default).lower()}"
    return f"{key.about[0].upper()}{key.about[1:]}.  [{key.variable}{default}]"
