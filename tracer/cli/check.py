"""The command that says what is configured."""

import click

from tracer.backends import backend_of
from tracer.cli.options import EVERYTHING, read_settings, settings_options
from tracer.clock import Clock
from tracer.explain.phrases import printable
from tracer.transport import Transport, read_headers, tls_context


@click.command()
@settings_options(*EVERYTHING)
def check(config_file: str | None, **given: str | None) -> None:
    """Validate the settings, and print each with its source.

    Secrets are hidden, and nothing is connected to. A flag goes before the environment, the environment before the file, the
    file before the default. What OpenTelemetry defines in OTEL_EXPORTER_OTLP_*, OTEL_EXPORTER_OTLP_TRACES_*,
    OTEL_TRACES_EXPORTER, OTEL_EXPORTER_JAEGER_ENDPOINT and OTEL_SERVICE_NAME counts after TRACER_*; HTTPS_PROXY, HTTP_PROXY and
    NO_PROXY are honoured.
    """
    settings = read_settings(config_file, given)
    tls_context(settings.transport)
    read_headers(settings.transport)
    backend_of(settings, Transport(settings.transport, Clock()))
    rows = [("setting", "value", "source")]
    for name, value, source in settings.lines():
        first, *others = value.split("\n")
        rows += [(name, first, source), *(("", other, "") for other in others)]
    shown = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in shown) for column in (0, 1)]
    for name, value, source in shown:
        click.echo(f"{name:{widths[0]}}  {value:{widths[1]}}  {source}".rstrip())
