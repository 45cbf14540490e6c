"""What is configured, and where does each value come from?

Keeps: a flag goes before the environment, the environment before the file, the file before the default; nothing unknown and no
bad value is passed over in silence; what is secret is never shown.
Must not know: how flags, environment and file are read.
Source: design 4, operations 8; OpenTelemetry's environment variables for OTLP exporters.
"""

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, get_origin
from urllib.parse import SplitResult, unquote, urlsplit

import msgspec

from tracer.config import (
    ENVIRONMENT_PREFIX,
    JAEGER_PATH,
    JAEGER_VARIABLE,
    KEYS,
    OTLP_VARIABLE,
    TRACES_PATH,
    TRACES_VARIABLE,
    Config,
    Key,
    Otlp,
)
from tracer.delivery.policy import LONGEST_TRY_TIMEOUT_S, TRY_TIMEOUT_S
from tracer.documents import yaml_documents
from tracer.errors import InputError
from tracer.telemetry.mappings import Mappings, mappings_error
from tracer.telemetry.places import SpanSettings
from tracer.telemetry.urls import run_url_error
from tracer.transport import TransportSettings, header_fault, is_direct, without_credentials

CONFIG_VARIABLE = "TRACER_CONFIG"
# Kubernetes writes such variables into every Pod for a Service that is called `tracer` or `tracer-...`.
_SERVICE_VARIABLE = re.compile(r"TRACER_(.+_)?(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT(_\d+_(TCP|UDP|SCTP)(_.+)?)?)")
_PROTOCOL_VARIABLES, _PROTOCOL = (f"{TRACES_VARIABLE}PROTOCOL", f"{OTLP_VARIABLE}PROTOCOL"), "http/protobuf"
_OF_ANOTHER_ENDPOINT = {*_PROTOCOL_VARIABLES, *KEYS["exporter"].also}
_OF_THE_OTHER_EXPORTER = {"otlp": JAEGER_VARIABLE, "jaeger": OTLP_VARIABLE}
_PROXIES = {"http": ("HTTP_PROXY", "http_proxy"), "https": ("HTTPS_PROXY", "https_proxy")}
_PROXY_ADDRESS = re.compile(r"https?://[^\s/?#]+/?")
_HEADERS_VARIABLES = (f"{TRACES_VARIABLE}HEADERS", f"{OTLP_VARIABLE}HEADERS")
_TIMEOUT_VARIABLES = (f"{TRACES_VARIABLE}TIMEOUT", f"{OTLP_VARIABLE}TIMEOUT")
_NOT_OF_SENDING = {"OTEL_SERVICE_NAME"}
_HEADERS, _TRY_TIMEOUT, _PROXY = "headers", "time for a try", "proxy"
_LONGEST_TRY_MS = int(LONGEST_TRY_TIMEOUT_S * 1000)
_PORTS = 1 << 16
_LONGEST_NUMBER = 18
_SHOWN_CHARACTERS = 100

OTHER_VARIABLES: Mapping[tuple[str, ...], str] = {
    (CONFIG_VARIABLE,): "the YAML file with settings, unless `--config` names one",
    _HEADERS_VARIABLES: "headers to send, as `name=value,name=value`, percent-encoded",
    _TIMEOUT_VARIABLES: f"how long a try may take at first: milliseconds from 1 to {_LONGEST_TRY_MS}",
    _PROTOCOL_VARIABLES: f"`{_PROTOCOL}`; anything else is refused, unless a setting names the endpoint",
    **{names: f"the proxy on the way to an endpoint that is `{scheme}`" for scheme, names in _PROXIES.items()},
    ("NO_PROXY", "no_proxy"): "what is reached without the proxy, with commas",
}
"""What is read from the environment beside each setting's own variables: of several the first one that is there, and what for."""


def _listen_error(value: str) -> str | None:
    """Say why nobody can listen there."""
    return (
        None if int(value.rpartition(":")[2]) < _PORTS else f"{value} has a port that there is not; the highest is {_PORTS - 1}."
    )


_FAULTS: dict[str, Callable[[Any], str | None]] = {
    "spans.mappings": mappings_error,
    "spans.run_url": run_url_error,
    "listen": _listen_error,
}


@dataclass(frozen=True, slots=True)
class Settings:
    """What was configured, and by what."""

    config: Config
    sources: Mapping[str, str]
    """By key; what is not there has its default."""
    headers: tuple[tuple[str, str], ...]
    """To be sent with every request, from OpenTelemetry's variables."""
    try_timeout_s: float
    """How long a try may take at first, from OpenTelemetry's variables."""
    proxy: str
    """The way to the endpoint; empty for none."""

    @property
    def spans(self) -> SpanSettings:
        """What the spans are told by."""
        return SpanSettings(
            parent=self.config.spans.parent,
            honour_sampled_flag=self.config.spans.honour_sampled_flag,
            service_name=self.config.service.name,
            cluster_name=self.config.cluster.name,
            mappings=self.config.spans.mappings,
            run_url=self.config.spans.run_url,
        )

    @property
    def endpoint(self) -> str:
        """Where it is sent."""
        return _endpoint(self.config)

    @property
    def endpoint_name(self) -> str:
        """What sentences call the endpoint."""
        way = f" (through the proxy {without_credentials(self.proxy)})" if self.proxy else ""
        return f"{self.endpoint}{way}"

    @property
    def transport(self) -> TransportSettings:
        """How the endpoint is reached."""
        otlp = self.config.otlp
        return TransportSettings(
            ca_file=otlp.ca_file,
            cert_file=otlp.cert_file,
            key_file=otlp.key_file,
            headers_file=otlp.headers_file,
            headers=self.headers,
            proxy=self.proxy,
        )

    def sending_to(self, endpoint: str) -> "Settings":
        """Give the same, but for where it is sent: an endpoint that takes OTLP, without proxy, certificates or headers."""
        config = msgspec.structs.replace(self.config, exporter="otlp", otlp=Otlp(endpoint=endpoint))
        return replace(self, config=config, headers=(), proxy="")

    def lines(self) -> Iterator[tuple[str, str, str]]:
        """Give name, value and source of every setting, for people; no secret is in them. Pairs stand on lines of their own."""
        for key in KEYS.values():
            yield key.name, _shown(reduce(getattr, key.name.split("."), self.config)), self.sources.get(key.name, "default")
        shown = {
            _HEADERS: ", ".join(f"{name}: (hidden)" for name, _ in self.headers),
            _TRY_TIMEOUT: f"{self.try_timeout_s:g} s",
            _PROXY: without_credentials(self.proxy) or "(none)",
        }
        for name, value in shown.items():
            if name in self.sources:
                yield name, value, self.sources[name]


def load(
    flags: Mapping[str, str], environment: Mapping[str, str], file: tuple[str, bytes] | None = None, *, sends: bool = True
) -> Settings:
    """Put the settings together from flags (by key), the environment, and a file's name and content.

    For what sends nothing, what other programs are told of sending is not looked at. What they are told of the exporter does not
    count where our own otlp.endpoint is given, nor what they are told of an exporter that is not the one.

    Raises InputError for whatever is not known or not allowed: it names key, value, what is allowed, and the source.
    """
    variables = {name: value.strip() for name, value in environment.items() if value.strip()}
    if not sends:
        variables = {
            name: value for name, value in variables.items() if name.startswith(ENVIRONMENT_PREFIX) or name in _NOT_OF_SENDING
        }
    _refuse_unknown_variables(variables)
    written = _read_file(*file) if file is not None else {}
    endpoint = KEYS["otlp.endpoint"]
    if endpoint.name in flags or endpoint.variable in variables or endpoint.name in written:
        variables = {name: value for name, value in variables.items() if name not in _OF_ANOTHER_ENDPOINT}
    values: dict[str, Any] = {"exporter": KEYS["exporter"].default}
    sources: dict[str, str] = {}
    for key in sorted(KEYS.values(), key=lambda key: key.name != "exporter"):  # it decides which variables count
        for source, value in _said(key, flags, variables, written, file[0] if file is not None else ""):
            converted = _convert(key, source, value)  # also of what another source goes before, so that no mistake sleeps
            if key.name not in sources:
                values[key.name], sources[key.name] = converted, source
        others = _OF_THE_OTHER_EXPORTER[values["exporter"]]
        variables = {name: value for name, value in variables.items() if not name.startswith(others)}
    config = msgspec.convert(_nested(values), Config)
    _refuse_other_protocols(variables)
    headers, try_timeout_s = _headers(variables, sources), _try_timeout_s(variables, sources)
    return Settings(config, sources, headers, try_timeout_s, _proxy(_endpoint(config), variables, sources))


def _endpoint(config: Config) -> str:
    return config.jaeger.endpoint if config.exporter == "jaeger" else config.otlp.endpoint


# ---------------------------------------------------------------- what each source says


def _said(
    key: Key, flags: Mapping[str, str], variables: Mapping[str, str], written: Mapping[str, object], file: str
) -> Iterator[tuple[str, object]]:
    """Give what each source says of a setting, the one that counts first."""
    if key.name in flags:
        yield key.flag, flags[key.name]
    if key.variable in variables:
        yield key.variable, variables[key.variable]
    elif key.name not in flags:  # what is said to other programs too may be no mistake where it does not count
        yield from [(name, variables[name]) for name in key.also if name in variables][:1]
    if key.name in written:
        yield file, written[key.name]


def _convert(key: Key, source: str, value: object) -> object:
    """Turn what a source says into a value of the key's type."""
    try:
        if isinstance(value, str) and source in {key.flag, key.variable, *key.also}:
            converted = msgspec.convert(_parts(key, value), key.type, strict=False)
        else:
            converted = msgspec.convert(list(value.items()) if isinstance(value, dict) else value, key.type)
        if key.name in _PATHS:
            return _PATHS[key.name](converted, source)
    except (msgspec.ValidationError, ValueError) as error:
        shown = without_credentials(_shown(value))[:_SHOWN_CHARACTERS]
        raise InputError(f"{key.name} is {shown} ({source}); allowed: {key.allowed}.") from error
    if key.name in _FAULTS and (fault := _FAULTS[key.name](converted)):
        raise InputError(f"{key.name} ({source}): {fault}")
    return converted


def _parts(key: Key, text: str) -> object:
    """Take a text apart as its key's type wants it: a list at its commas, pairs at their first equals signs as well."""
    if get_origin(key.type.__origin__) is not tuple:
        return text
    parts = [part.strip() for part in text.split(",")]
    return [part.split("=", 1) for part in parts] if key.type.__origin__ == Mappings else parts


def _otlp_address(address: str, source: str) -> str:
    """Complete an address; OpenTelemetry's variable for traces alone holds the whole of it. Raises ValueError if it is none."""
    said = _taken_apart(address)
    path = said.path.rstrip("/")
    if path.endswith(TRACES_PATH):
        return f"{said.scheme}://{said.netloc}{path}"
    if path and source == f"{TRACES_VARIABLE}ENDPOINT":
        return address
    return f"{said.scheme}://{said.netloc}{path}{TRACES_PATH}"


def _jaeger_address(address: str, _: str) -> str:
    """Complete an address that has no path. Raises ValueError if it is none."""
    said = _taken_apart(address)
    return address if said.path.strip("/") else f"{said.scheme}://{said.netloc}{JAEGER_PATH}"


def _taken_apart(address: str) -> SplitResult:
    said = urlsplit(address)
    if not said.hostname or said.port == 0:
        raise ValueError(address)
    return said


_PATHS = {"otlp.endpoint": _otlp_address, "jaeger.endpoint": _jaeger_address}


def _read_file(name: str, content: bytes) -> dict[str, object]:
    """Read the file's settings, by key."""
    try:
        said = list(yaml_documents(content))
    except ValueError as error:
        raise InputError(f"{name} {error}; expected settings such as `otlp: {{endpoint: http://host:4318}}`.") from error
    if said in ([], [None]):
        return {}
    if len(said) > 1 or not isinstance(said[0], dict):
        raise InputError(f"{name} holds no settings; expected one YAML mapping, such as `otlp: {{endpoint: http://host:4318}}`.")
    return dict(_flat(name, said[0]))


def _flat(file: str, said: Mapping[object, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for part, value in said.items():
        name = f"{prefix}{part}"
        if name in KEYS:
            if value is not None:
                yield name, value
        elif any(key.startswith(f"{name}.") for key in KEYS) and isinstance(value, dict | None):
            yield from _flat(file, value or {}, f"{name}.")
        elif any(key.startswith(f"{name}.") for key in KEYS):
            raise InputError(
                f"{file} has one value for {name}, which is a section; expected settings below it, such as {_below(name)}."
            )
        else:
            raise InputError(f"{file} has the unknown key {name[:_SHOWN_CHARACTERS]}; {_nearest(name, KEYS)}")


def _below(section: str) -> str:
    return next(key for key in KEYS if key.startswith(f"{section}."))


def _refuse_unknown_variables(variables: Mapping[str, str]) -> None:
    known = [key.variable for key in KEYS.values()] + [CONFIG_VARIABLE]
    for name in variables:
        if name.startswith(ENVIRONMENT_PREFIX) and name not in known and not _SERVICE_VARIABLE.fullmatch(name):
            raise InputError(
                f"The environment has the unknown setting {name[:_SHOWN_CHARACTERS]}; {_nearest(name, known, ENVIRONMENT_PREFIX)}"
            )


def _nearest(name: str, known: Iterable[str], prefix: str = "") -> str:
    """Guess what was meant. What all of them begin with makes nothing alike."""
    near = difflib.get_close_matches(name.removeprefix(prefix), [one.removeprefix(prefix) for one in known], n=1)
    return f"did you mean {prefix}{near[0]}?" if near else f"there are {', '.join(known)}."


def _refuse_other_protocols(variables: Mapping[str, str]) -> None:
    """Refuse what OpenTelemetry's variables ask for and is not there, rather than send something else than was asked for."""
    name = next((name for name in _PROTOCOL_VARIABLES if name in variables), None)
    if name is not None and variables[name] != _PROTOCOL:
        raise InputError(f"{name} is {variables[name][:_SHOWN_CHARACTERS]}; allowed: {_PROTOCOL}.")


def _headers(variables: Mapping[str, str], sources: dict[str, str]) -> tuple[tuple[str, str], ...]:
    """Read headers as OpenTelemetry writes them: `name=value,name=value`, percent-encoded."""
    source = next((name for name in _HEADERS_VARIABLES if name in variables), None)
    if source is None:
        return ()
    sources[_HEADERS] = source
    headers = []
    for pair in filter(None, (one.strip() for one in variables[source].split(","))):
        name, equals, value = (unquote(part.strip()) for part in pair.partition("="))
        if not equals or (fault := header_fault(name, value)):
            fault = fault if equals else "something that is no pair"
            raise InputError(f"{source} holds {fault}; expected name=value,name=value.")
        headers.append((name, value))
    return tuple(headers)


def _try_timeout_s(variables: Mapping[str, str], sources: dict[str, str]) -> float:
    source = next((name for name in _TIMEOUT_VARIABLES if name in variables), None)
    if source is None:
        return TRY_TIMEOUT_S
    said = variables[source]
    if not (said.isascii() and said.isdigit() and len(said) <= _LONGEST_NUMBER and 0 < int(said) <= _LONGEST_TRY_MS):
        raise InputError(f"{source} is {said[:_SHOWN_CHARACTERS]}; allowed: milliseconds from 1 to {_LONGEST_TRY_MS}.")
    sources[_TRY_TIMEOUT] = source
    return int(said) / 1000


def _proxy(endpoint: str, variables: Mapping[str, str], sources: dict[str, str]) -> str:
    variable = next((name for name in _PROXIES[urlsplit(endpoint).scheme] if name in variables), None)
    if variable is None:
        return ""
    proxy, sources[_PROXY] = variables[variable], variable
    if not _is_proxy(proxy):
        shown = without_credentials(proxy)[:_SHOWN_CHARACTERS]
        raise InputError(f"{variable} is {shown}; allowed: an address such as http://proxy:3128.")
    if is_direct(endpoint, variables.get("NO_PROXY") or variables.get("no_proxy", "")):
        proxy, sources[_PROXY] = "", "NO_PROXY"
    return proxy


def _is_proxy(address: str) -> bool:
    try:
        return bool(_PROXY_ADDRESS.fullmatch(address) and urlsplit(address).hostname and urlsplit(address).port != 0)
    except ValueError:
        return False


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for name, value in values.items():
        *sections, last = name.split(".")
        inner = nested
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[last] = value
    return nested


def _shown(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case tuple() | list():
            pairs = ["=".join(map(str, one)) for one in value if isinstance(one, tuple)]
            return "\n".join(pairs) or ",".join(map(str, value)) or "(none)"
        case _:
            return str(value) or "(none)"
