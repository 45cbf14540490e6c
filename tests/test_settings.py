"""Where a setting comes from, and what is refused."""

from pathlib import Path

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from tests.test_cli import tracer
from tracer.config import KEYS, Key
from tracer.errors import InputError
from tracer.settings import Settings, load

GOOD: dict[str, tuple[str, str, str]] = {
    "watch.namespaces": ("ci, release", "[ci, release]", "ci,release"),
    "exporter": ("otlp", "otlp", "otlp"),
    "otlp.endpoint": ("https://jaeger:4318", "https://jaeger:4318", "https://jaeger:4318/v1/traces"),
    "otlp.headers_file": ("/etc/headers", "/etc/headers", "/etc/headers"),
    "otlp.compression": ("gzip", "gzip", "gzip"),
    "otlp.ca_file": ("/etc/ca.pem", "/etc/ca.pem", "/etc/ca.pem"),
    "otlp.cert_file": ("/etc/cert.pem", "/etc/cert.pem", "/etc/cert.pem"),
    "otlp.key_file": ("/etc/key.pem", "/etc/key.pem", "/etc/key.pem"),
    "jaeger.endpoint": ("https://jaeger:14268", "https://jaeger:14268", "https://jaeger:14268/api/traces"),
    "spans.parent": ("link", "link", "link"),
    "spans.honour_sampled_flag": ("false", "false", "false"),
    "spans.mappings": ("a.b/team=tekton.user.team", "{a.b/team: tekton.user.team}", "a.b/team=tekton.user.team"),
    "spans.run_url": ("https://d/{namespace}/{name}", "https://d/{namespace}/{name}", "https://d/{namespace}/{name}"),
    "service.name": ("ci", "ci", "ci"),
    "cluster.name": ("east", "east", "east"),
    "lookback": ("24h", "24h", "24h"),
    "leader.enabled": ("false", "false", "false"),
    "listen": ("127.0.0.1:9090", "127.0.0.1:9090", "127.0.0.1:9090"),
    "stuck_after_s": ("600", "600", "600"),
    "log.level": ("error", "error", "error"),
}
"""By key: as a flag or variable says it, as YAML says it, and as it is shown."""

BAD: dict[str, tuple[str, ...]] = {
    "watch.namespaces": ("Ci", "a b", "a,,b", "-a"),
    "exporter": ("zipkin", "otlp,jaeger", "OTLP"),
    "jaeger.endpoint": ("jaeger:14268", "udp://jaeger:6831", "http://h:0", "http://user:pw@h", "http://h/api/traces?a"),
    "otlp.endpoint": (
        "jaeger:4318",
        "ftp://jaeger",
        "http://",
        "http://h:99999",
        "http://h:x",
        "http://user:pw@h",
        "http://h?a",
        "http://[",
    ),
    "otlp.compression": ("zip", "GZIP"),
    "spans.parent": ("parent", "LINK"),
    "spans.honour_sampled_flag": ("perhaps", "2"),
    "spans.mappings": ("a", "a=host.name", "a=service.name", "a=vcs.x,b=vcs.x"),
    "spans.run_url": ("https://d/{name.__class__}", "https://d/{nam}", "javascript:alert(1)", "https://{name}/"),
    "service.name": ("x" * 300, "a\nb"),
    "lookback": ("yesterday", "0h", "24", "-1h"),
    "leader.enabled": ("maybe",),
    "listen": ("8080", ":http", "a/b:1", ":65536"),
    "stuck_after_s": ("0", "-1", "1.5", "an hour", "9" * 30),
    "log.level": ("verbose",),
}

every_key = pytest.mark.parametrize("key", KEYS.values(), ids=KEYS.keys())


def said(settings: Settings, key: Key) -> tuple[str, str]:
    """Give a setting's value and source, as `tracer check` shows them."""
    return next((value, source) for name, value, source in settings.lines() if name == key.name)


def yaml_of(key: Key, value: str) -> bytes:
    """Write one setting as YAML."""
    *sections, last = key.name.split(".")
    return "".join(f"{'  ' * depth}{section}:\n" for depth, section in enumerate(sections)).encode() + (
        f"{'  ' * len(sections)}{last}: {value}\n".encode()
    )


@every_key
def test_a_flag_goes_before_the_environment_and_that_before_the_file(key: Key) -> None:
    """Each key can be given in each of the three ways, and the nearest one counts."""
    text, yaml, shown = GOOD[key.name]
    flags, environment, file = {key.name: text}, {key.variable: text}, ("tracer.yaml", yaml_of(key, yaml))
    chosen = {"exporter": "jaeger"} if key.name.startswith("jaeger.") else {}
    assert said(load({}, {}), key)[1] == "default"
    assert said(load({}, {}, file), key) == (shown, "tracer.yaml")
    assert said(load({}, environment, file), key) == (shown, key.variable)
    assert said(load(flags, environment, file), key) == (shown, key.flag)
    for one in key.also:
        assert said(load(chosen, {one: text}, file), key) == (shown, one)
        assert said(load(chosen, {one: "bad" * 100, **environment}), key) == (shown, key.variable)


@pytest.mark.parametrize(("key", "value"), [(KEYS[name], value) for name, values in BAD.items() for value in values])
def test_a_bad_value_is_refused(key: Key, value: str) -> None:
    """A bad value gives one sentence with the key, the source and what is allowed, also where another source goes before it."""
    for flags, environment in [
        ({key.name: value}, {}),
        ({}, {key.variable: value}),
        ({key.name: GOOD[key.name][0]}, {key.variable: value}),
    ]:
        with pytest.raises(InputError) as error:
            load(flags, environment)
        assert key.name in str(error.value)
        assert (key.variable if environment else key.flag) in str(error.value)
        assert len(str(error.value)) < 700


@every_key
def test_a_value_of_another_type_in_the_file_is_refused(key: Key) -> None:
    """The file's types count: a list is no text, a text no number."""
    with pytest.raises(InputError, match=r"\(tracer\.yaml\); allowed: "):
        load({}, {}, ("tracer.yaml", yaml_of(key, "[[1, 2, 3]]")))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("otlp:\n  endpont: http://h", "tracer.yaml has the unknown key otlp.endpont; did you mean otlp.endpoint?"),
        ("otpl:\n  endpoint: http://h", "unknown key otpl"),
        ("otlp: http://h", "one value for otlp, which is a section; expected settings below it, such as otlp.endpoint."),
        ("otlp:\n\tendpoint: x", "cannot start any token in line 2"),
        ("1: 2", "unknown key 1"),
        ("- otlp", "holds no settings"),
        ("a: b\n---\na: b", "holds no settings"),
        ("a: b: c", "neither JSON nor YAML"),
        pytest.param("a: &a [x]\nb: *a", "aliases", marks=pytest.mark.row("S17")),
        pytest.param("[" * 5_000, "nested too deeply", marks=pytest.mark.row("S17")),
    ],
)
def test_a_bad_file_is_refused(content: str, why: str) -> None:
    """What the file says and nobody knows is refused with its name."""
    with pytest.raises(InputError) as error:
        load({}, {}, ("tracer.yaml", content.encode()))
    assert why in str(error.value)


@pytest.mark.parametrize("content", ["", "# nothing\n", "otlp:\n", "otlp: {endpoint: }\n", "otlp.endpoint:\n"])
def test_what_is_left_empty_has_its_default(content: str) -> None:
    """An empty file, section or value says nothing."""
    assert load({}, {}, ("tracer.yaml", content.encode())) == load({}, {})


def test_an_unknown_variable_is_refused_but_not_what_kubernetes_writes() -> None:
    """A misspelt variable is told; those that Kubernetes writes for a Service called tracer are its own."""
    with pytest.raises(InputError, match=r"TRACER_OTLP_ENDPIONT; did you mean TRACER_OTLP_ENDPOINT\?"):
        load({}, {"TRACER_OTLP_ENDPIONT": "http://h"})
    with pytest.raises(InputError, match="TRACER_NOPE; there are TRACER_WATCH_NAMESPACES, "):  # the prefix makes nothing alike
        load({}, {"TRACER_NOPE": "1"})
    written = [
        "SERVICE_HOST",
        "SERVICE_PORT",
        "SERVICE_PORT_METRICS",
        "PORT",
        "PORT_8080_TCP",
        "PORT_8080_TCP_ADDR",
        "METRICS_PORT",
    ]
    assert load({}, {f"TRACER_{name}": "10.0.0.1" for name in written}) == load({}, {})


@pytest.mark.parametrize(
    ("environment", "endpoint"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:1"}, "http://h:1/v1/traces"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:1/prefix/"}, "http://h:1/prefix/v1/traces"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:1/v1/traces"}, "http://h:1/v1/traces"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://h:1/own"}, "http://h:1/own"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://h:1"}, "http://h:1/v1/traces"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://b/x"}, "http://b/x"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a", "TRACER_OTLP_ENDPOINT": "http://b/x/"}, "http://b/x/v1/traces"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "  "}, "http://localhost:4318/v1/traces"),
    ],
)
def test_the_path_of_an_address(environment: dict[str, str], endpoint: str) -> None:
    """/v1/traces is added unless the path ends so; OpenTelemetry's variable for traces alone names the whole path."""
    assert load({}, environment).config.otlp.endpoint == endpoint


def test_what_opentelemetry_defines_is_honoured() -> None:
    """Headers, time-outs, and the protocols that are not there."""
    environment = {
        "OTEL_EXPORTER_OTLP_HEADERS": "ignored=1",
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "api-key=a%20b, x=1=2",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "2500",
    }
    settings = load({}, environment)
    assert (settings.headers, settings.try_timeout_s) == ((("api-key", "a b"), ("x", "1=2")), 2.5)
    for name, value in [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
    ]:
        with pytest.raises(InputError, match=f"{name} is {value}; allowed: "):
            load({}, {name: value, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://h"})
        assert load({"otlp.endpoint": "http://h"}, {name: value}).config.otlp.endpoint == "http://h/v1/traces"
        assert load({"exporter": "jaeger"}, {name: value}).config.exporter == "jaeger"
    for name, value in [
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "0"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "geheim"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a b=geheim"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "Host=geheim"),
    ]:
        with pytest.raises(InputError, match=name) as error:
            load({}, {name: value})
        assert "geheim" not in str(error.value)


def test_the_exporter_that_opentelemetry_names_is_honoured() -> None:
    """Only what is there can be named; where we are told an endpoint of OTLP, what others are told of exporters is not ours."""
    name = "OTEL_TRACES_EXPORTER"
    assert load({}, {name: "jaeger"}).endpoint == "http://localhost:14268/api/traces"
    with pytest.raises(InputError, match=rf"^exporter is console \({name}\); allowed: otlp, jaeger\.$"):
        load({}, {name: "console", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://h"})
    for value in ("console", "jaeger"):
        assert load({"otlp.endpoint": "http://h"}, {name: value}).endpoint == "http://h/v1/traces"
        assert load({}, {name: value}, ("tracer.yaml", b"otlp: {endpoint: http://h}")).endpoint == "http://h/v1/traces"
    assert load({"otlp.endpoint": "http://h", "exporter": "jaeger"}, {}).endpoint == "http://localhost:14268/api/traces"


@pytest.mark.parametrize(
    ("address", "endpoint"),
    [
        ("http://h:14268", "http://h:14268/api/traces"),
        ("http://h:14268/", "http://h:14268/api/traces"),
        ("http://h:14268/api/traces", "http://h:14268/api/traces"),
        ("https://h/prefix/", "https://h/prefix/"),
    ],
)
def test_the_path_of_an_old_jaegers_address(address: str, endpoint: str) -> None:
    """/api/traces is added to an address without a path, whoever gives it; any other path is sent as it was given."""
    assert load({"exporter": "jaeger", "jaeger.endpoint": address}, {}).endpoint == endpoint
    assert load({"exporter": "jaeger"}, {"OTEL_EXPORTER_JAEGER_ENDPOINT": address}).endpoint == endpoint


def test_what_is_said_of_one_exporter_is_not_said_of_the_other() -> None:
    """Variables of OTLP are not an old Jaeger's, for a header may be a secret; our own files are, and proxies."""
    others = {
        "OTEL_EXPORTER_OTLP_HEADERS": "api-key=a",
        "OTEL_EXPORTER_OTLP_CERTIFICATE": "/ca",
        "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": "never",
        "HTTPS_PROXY": "http://proxy:3128",
    }
    settings = load({"exporter": "jaeger", "jaeger.endpoint": "https://h", "otlp.cert_file": "/cert"}, others)
    assert (settings.headers, settings.config.otlp.ca_file, settings.transport.cert_file) == ((), "", "/cert")
    assert settings.endpoint_name == "https://h/api/traces (through the proxy http://proxy:3128)"
    assert settings.sending_to("http://receiver").endpoint == "http://receiver"
    assert load({}, {"OTEL_EXPORTER_JAEGER_ENDPOINT": "no address"}).sources == {}


@pytest.mark.parametrize(
    "proxy", ["proxy:3128", "http://p:x", "http://[bad", "//u:geheim@p", "socks5://p:1", "u:geheim@p:1", "http://p/x?y"]
)
def test_bad_proxies_are_refused(proxy: str) -> None:
    """A proxy that cannot be one is refused by its variable's name, without its secrets."""
    with pytest.raises(InputError, match=r"^HTTP_PROXY is ") as error:
        load({"otlp.endpoint": "http://h"}, {"HTTP_PROXY": proxy})
    assert "geheim" not in str(error.value)


def test_what_sends_nothing_does_not_mind_what_others_are_told_of_sending() -> None:
    """To draw a run, no variable for sending needs to be right."""
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "localhost:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "HTTP_PROXY": "x"}
    assert load({}, {**environment, "OTEL_SERVICE_NAME": "ci"}, sends=False).spans.service_name == "ci"


def test_the_nearest_protocol_counts() -> None:
    """The variable for traces goes before the one for all signals; an empty file changes nothing."""
    near = {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    assert load({}, near) == load({}, {})
    for file in (None, ("tracer.yaml", b"")):
        with pytest.raises(InputError, match=r"OTEL_EXPORTER_OTLP_PROTOCOL is grpc"):
            load({}, {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, file)


@pytest.mark.row("S17")
@pytest.mark.parametrize(
    "content", ["a: !!bool maybe", "a: !!int ''", "a: !!timestamp x", "watch: {namespaces: !!omap [{1: 2}]}"]
)
def test_yaml_that_lies_about_its_types_is_refused(content: str) -> None:
    """What YAML cannot make of a text is one sentence."""
    with pytest.raises(InputError):
        load({}, {}, ("tracer.yaml", content.encode()))


@pytest.mark.parametrize(
    ("endpoint", "environment", "proxy"),
    [
        ("https://h", {"HTTPS_PROXY": "http://p:1"}, "http://p:1"),
        ("https://h", {"https_proxy": "http://p:1"}, "http://p:1"),
        ("http://h", {"HTTPS_PROXY": "http://p:1"}, ""),
        ("http://h", {"HTTP_PROXY": "http://p:1"}, "http://p:1"),
        ("https://h:4318", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "h"}, ""),
        ("https://h", {"HTTPS_PROXY": "http://p:1", "no_proxy": "other"}, "http://p:1"),
    ],
)
def test_proxies(endpoint: str, environment: dict[str, str], proxy: str) -> None:
    """The proxy of the endpoint's scheme is taken, unless NO_PROXY names the host."""
    assert load({"otlp.endpoint": endpoint}, environment).transport.proxy == proxy


@given(st.dictionaries(st.sampled_from([key.variable for key in KEYS.values()]), st.text()), st.binary(max_size=300))
def test_nothing_but_a_sentence_comes_of_nonsense(environment: dict[str, str], content: bytes) -> None:
    """Whatever the environment and the file hold, there are settings or one sentence."""
    try:
        settings, sentence = load({}, environment, ("tracer.yaml", content)), "."
    except InputError as error:
        settings, sentence = load({}, {}), str(error)
    assert sentence.endswith((".", "?"))
    assert {name for name, _, _ in settings.lines()} >= set(KEYS)


def test_check_names_sources_and_shows_no_secret(tmp_path: Path) -> None:
    """`tracer check` prints every key with its value and source; headers and what stands in a proxy's address are hidden."""
    (tmp_path / "tracer.yaml").write_text(
        "service:\n  name: ci\notlp:\n  headers_file: HEADERS\n".replace("HEADERS", str(tmp_path / "h"))
    )
    (tmp_path / "h").write_text("Authorization: Bearer geheim\n")
    done = tracer(
        "check",
        "--config",
        str(tmp_path / "tracer.yaml"),
        "--cluster-name",
        "east",
        TRACER_SPANS_PARENT="link",
        OTEL_EXPORTER_OTLP_ENDPOINT="https://jaeger:4318",
        OTEL_EXPORTER_OTLP_HEADERS="api-key=geheim",
        HTTPS_PROXY="http://user:geheim@proxy:3128",
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "geheim" not in done.stdout
    rows = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()}
    assert set(KEYS) <= set(rows)
    assert rows["service.name"] == ["ci", str(tmp_path / "tracer.yaml")]
    assert rows["cluster.name"] == ["east", "--cluster-name"]
    assert rows["spans.parent"] == ["link", "TRACER_SPANS_PARENT"]
    assert rows["otlp.endpoint"] == ["https://jaeger:4318/v1/traces", "OTEL_EXPORTER_OTLP_ENDPOINT"]
    assert rows["headers"] == ["api-key:", "(hidden)", "OTEL_EXPORTER_OTLP_HEADERS"]
    assert rows["proxy"] == ["http://(hidden)@proxy:3128", "HTTPS_PROXY"]
    assert rows["lookback"] == ["all", "default"]


def test_every_key_has_a_flag_that_counts(tmp_path: Path) -> None:
    """On the command line each key's flag is taken, and goes before the variable and the file."""
    certificate = trustme.CA().issue_cert("tracer")
    certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "pem")
    (tmp_path / "headers").touch()
    files = {"otlp.headers_file": "headers", "otlp.ca_file": "pem", "otlp.cert_file": "pem", "otlp.key_file": "pem"}
    given = {name: str(tmp_path / files[name]) if name in files else text for name, (text, _, _) in GOOD.items()}
    (tmp_path / "tracer.yaml").write_bytes(b"otlp.endpoint: http://file\nservice: {name: file}\n")
    flags = [part for name, text in given.items() for part in (KEYS[name].flag, text)]
    variables = {KEYS[name].variable: text for name, text in given.items() if name not in files}
    done = tracer("check", "--config", str(tmp_path / "tracer.yaml"), *flags, **variables)
    assert (done.returncode, done.stderr) == (0, "")
    assert {line.split()[0]: line.split()[-1] for line in done.stdout.splitlines()[1:]} == {
        name: KEYS[name].flag for name in KEYS
    }


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (["--config", "/no/such/file"], {}, "The configuration /no/such/file cannot be read: No such file"),
        ([], {"TRACER_CONFIG": "/"}, "The configuration / cannot be read: Is a directory"),
        (["--otlp-compression", "zip"], {}, "otlp.compression is zip (--otlp-compression); allowed: none, gzip."),
        ([], {"TRACER_LOG_LEVEL": "loud"}, "log.level is loud (TRACER_LOG_LEVEL); allowed: info, warning, error."),
        ([], {"TRACER_LOG_LEVL": "info"}, "did you mean TRACER_LOG_LEVEL?"),
        (["--otlp-ca-file", "/no/such/file"], {}, "The CA file /no/such/file cannot be read"),
        (["--otlp-headers-file", "/no/such/file"], {}, "The headers file /no/such/file cannot be read"),
        (["--otlp-key-file", "/k"], {}, "otlp.cert_file"),
        (["--otlp-endpiont", "x"], {}, "No such option"),
        (["--jaeger-endpoint", "http://h"], {}, "jaeger.endpoint is given (--jaeger-endpoint), but nobody says that exporter is"),
        (["--jaeger-endpoint", "http://h"], {"OTEL_TRACES_EXPORTER": "otlp"}, "but exporter is otlp (OTEL_TRACES_EXPORTER)"),
        (["--otlp-endpoint", "http://a\x1b[31m"], {}, "otlp.endpoint is"),
    ],
)
def test_check_refuses(arguments: list[str], environment: dict[str, str], said: str) -> None:
    """A configuration that cannot be used gives one sentence and exit code 2."""
    done = tracer("check", *arguments, **environment)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert said in done.stderr
    assert "\x1b" not in done.stderr
