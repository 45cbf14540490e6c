"""Which settings are there? Every knob: its name, its values, its default, what it is for.

Must not know: where a value comes from, and who uses it.
Source: design 4, operations 8.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec

from tracer.telemetry.mappings import DEFAULT_MAPPINGS, Mappings
from tracer.telemetry.places import ParentPolicy

TRACES_PATH = "/v1/traces"
ENVIRONMENT_PREFIX = "TRACER_"
JAEGER_PATH = "/api/traces"
OTLP_VARIABLE, TRACES_VARIABLE = "OTEL_EXPORTER_OTLP_", "OTEL_EXPORTER_OTLP_TRACES_"
JAEGER_VARIABLE = "OTEL_EXPORTER_JAEGER_"


def _about(text: str, *also: str) -> msgspec.Meta:
    """Describe a setting, with the environment variables that other programs read it from, nearest first."""
    return msgspec.Meta(description=text, extra={"also": also})


def _otlp(name: str) -> tuple[str, str]:
    """Name OpenTelemetry's variables for a setting."""
    return f"{TRACES_VARIABLE}{name}", f"{OTLP_VARIABLE}{name}"


def _allowed(pattern: str, text: str) -> msgspec.Meta:
    return msgspec.Meta(pattern=pattern, title=text)


_ADDRESS = r"^https?://[^\s/?#@]+(/[^\s?#]*)?$"
Address = Annotated[str, _allowed(_ADDRESS, "an address such as http://host:4318, without credentials")]
JaegerAddress = Annotated[str, _allowed(_ADDRESS, "an address such as http://host:14268, without credentials")]
Name = Annotated[str, _allowed(r"^[^\x00-\x1f\x7f]{1,253}$", "a name of 1 to 253 characters")]
Namespace = Annotated[str, _allowed(r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$", "names of namespaces, such as ci,release")]
Lookback = Annotated[str, _allowed(r"^(all|[1-9][0-9]{0,5}[smhd])$", "all, or an age such as 90m, 24h or 7d")]
Listen = Annotated[str, _allowed(r"^[^\s/]*:[0-9]{1,5}$", "an address and a port, such as :8080")]
Pairs = Annotated[Mappings, msgspec.Meta(title="pairs such as example.com/team=tekton.user.team")]
Seconds = Annotated[int, msgspec.Meta(gt=0, le=10**9, title="a number of seconds from 1")]


class _Section(msgspec.Struct, frozen=True, kw_only=True):
    """Some settings that belong together. Each names its meaning; a default says what is used without it."""


class Watch(_Section, frozen=True, kw_only=True):
    """What is watched."""

    namespaces: Annotated[tuple[Namespace, ...], _about("the namespaces to watch, with commas; none means all of them")] = ()


class Otlp(_Section, frozen=True, kw_only=True):
    """Where spans are sent, and how the backend is reached, whatever protocol it speaks."""

    endpoint: Annotated[
        Address,
        _about(f"the OTLP/HTTP receiver; {TRACES_PATH} is added unless its path ends so", *_otlp("ENDPOINT")),
    ] = f"http://localhost:4318{TRACES_PATH}"
    headers_file: Annotated[str, _about("a file of headers to send, one `Name: value` a line; read again when it changes")] = ""
    compression: Annotated[
        Literal["none", "gzip"], _about("gzip costs CPU; for slow links, and OTLP alone", *_otlp("COMPRESSION"))
    ] = "none"
    ca_file: Annotated[
        str,
        _about("certificates to trust instead of the system's, PEM", *_otlp("CERTIFICATE")),
    ] = ""
    cert_file: Annotated[str, _about("the client's certificate, PEM", *_otlp("CLIENT_CERTIFICATE"))] = ""
    key_file: Annotated[str, _about("the key of that certificate, PEM", *_otlp("CLIENT_KEY"))] = ""


class Jaeger(_Section, frozen=True, kw_only=True):
    """Where spans are sent to a Jaeger that does not take OTLP."""

    endpoint: Annotated[
        JaegerAddress,
        _about(
            f"an old Jaeger's Thrift receiver; {JAEGER_PATH} is added if there is no path; headers and certificates: otlp.*_file",
            f"{JAEGER_VARIABLE}ENDPOINT",
        ),
    ] = f"http://localhost:14268{JAEGER_PATH}"


class Spans(_Section, frozen=True, kw_only=True):
    """What spans say; all replicas must have the same."""

    parent: Annotated[ParentPolicy, _about("what to do with the trace that a run was started from")] = ParentPolicy.TEKTON
    honour_sampled_flag: Annotated[bool, _about("leave runs out whose caller asked for no trace")] = True
    mappings: Annotated[
        Pairs,
        _about("which labels and annotations become which attributes, as KEY=ATTRIBUTE,...; default: those of Pipelines-as-Code"),
    ] = DEFAULT_MAPPINGS
    run_url: Annotated[str, _about("the page that shows a run, such as http://host/{namespace}/{resource}/{name}, or {uid}")] = ""


class Service(_Section, frozen=True, kw_only=True):
    """Who the spans are from."""

    name: Annotated[Name, _about("the service that the traces are found by", "OTEL_SERVICE_NAME")] = "tekton"


class Cluster(_Section, frozen=True, kw_only=True):
    """Which cluster it is."""

    name: Annotated[str, _about("the cluster's name, on every span")] = ""


class Leader(_Section, frozen=True, kw_only=True):
    """How replicas share the work."""

    enabled: Annotated[bool, _about("let one replica send while the others stand by")] = True


class Log(_Section, frozen=True, kw_only=True):
    """What is logged."""

    level: Annotated[Literal["info", "warning", "error"], _about("the least that is logged")] = "info"


class Config(_Section, frozen=True, kw_only=True):
    """Every setting, with its value."""

    watch: Watch = Watch()
    exporter: Annotated[
        Literal["otlp", "jaeger"],
        _about(
            "the backend's protocol: jaeger is Thrift, for a Jaeger before 1.35, and takes the extra [jaeger]",
            "OTEL_TRACES_EXPORTER",
        ),
    ] = "otlp"
    otlp: Otlp = Otlp()
    jaeger: Jaeger = Jaeger()
    spans: Spans = Spans()
    service: Service = Service()
    cluster: Cluster = Cluster()
    lookback: Annotated[Lookback, _about("at the first start, how old runs may be that are still sent: all, 90m, 24h, 7d")] = (
        "all"
    )
    leader: Leader = Leader()
    listen: Annotated[Listen, _about("where metrics and health are served")] = ":8080"
    stuck_after_s: Annotated[Seconds, _about("after how many seconds an unfinished run counts as stuck")] = 7200
    log: Log = Log()


@dataclass(frozen=True, slots=True)
class Key:
    """One setting: what it is called, which values it takes."""

    name: str
    type: Any
    default: object
    about: str
    also: tuple[str, ...]
    """Environment variables of OpenTelemetry's that set it too, nearest first."""

    @property
    def flag(self) -> str:
        """Its flag."""
        return "--" + self.name.replace(".", "-").replace("_", "-")

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return ENVIRONMENT_PREFIX + self.name.replace(".", "_").upper()

    @property
    def allowed(self) -> str:
        """Which values it takes, in words."""
        return _allowed_words(self.type)


def age_s(lookback: str) -> float:
    """Give an age such as 90m in seconds; that of `all` is infinite."""
    return float("inf") if lookback == "all" else int(lookback[:-1]) * _UNITS_S[lookback[-1]]


_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def _keys(section: type[_Section], prefix: str = "") -> Iterator[Key]:
    for one in msgspec.structs.fields(section):
        name = prefix + one.encode_name
        if isinstance(one.default, _Section):
            yield from _keys(type(one.default), f"{name}.")
        else:
            about = one.type.__metadata__[-1]
            yield Key(name, one.type, one.default, about.description, about.extra["also"])


def _allowed_words(of_type: Any) -> str:  # noqa: ANN401 - a type form has no type
    arguments = get_args(of_type)
    if get_origin(of_type) is Annotated:
        return next((meta.title for meta in of_type.__metadata__ if meta.title), None) or _allowed_words(arguments[0])
    if get_origin(of_type) is Literal:
        return ", ".join(arguments)
    if get_origin(of_type) is tuple:
        return _allowed_words(arguments[0])
    if of_type is bool:
        return "true, false"
    return ", ".join(of_type) if issubclass(of_type, StrEnum) else "text"


KEYS = {key.name: key for key in _keys(Config)}
"""Every setting, by its name."""
