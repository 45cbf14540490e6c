"""The command that sends what recordings come to."""

import asyncio
from pathlib import Path

import click

from tracer.cli.options import RENDERING, SENDING, read_settings, settings_options
from tracer.cli.printing import Count, all_rows_option, note, output_option, printer_of, report
from tracer.cli.progress import Sending, reading
from tracer.clock import Clock
from tracer.delivery.ledger import Ledger
from tracer.delivery.otlp_http import OtlpHttp
from tracer.delivery.outcome import Delivered, Refused
from tracer.delivery.policy import Pace
from tracer.errors import BackendError, InputError
from tracer.explain.terminal.glyphs import printable
from tracer.kube.recording import find_recording
from tracer.replay import Delivery, Replay
from tracer.transport import Transport

EXIT_FOUND = 6
_SHOWN_REASONS = 5


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--dry-run", is_flag=True, help="Print the spans and send nothing.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0.1, max=86_400),
    default=60.0,
    show_default=True,
    help="Give up after so many seconds without an answer.",
)
@output_option
@all_rows_option
@settings_options(*SENDING, *RENDERING)
@click.pass_context
def replay(
    context: click.Context,
    /,
    paths: tuple[str, ...],
    timeout_s: float,
    output: str | None,
    *,
    dry_run: bool,
    show_all: bool,
    config_file: str | None,
    **given: str | None,
) -> None:
    """Send the spans of recorded runs to an OTLP/HTTP backend, such as Jaeger.

    PATH is a folder with watch.jsonl or objects.json, a file of watch events, what `kubectl get -o json|yaml` prints, or - for
    standard input. Sending twice leaves the same spans: the same facts always give the same bytes.

    \b
    -o text   print the waterfall of each run as well
    -o json   print one JSON object a run and line
    -o otlp   print one OTLP/JSON ExportTraceServiceRequest with every span
    """  # noqa: D301 - click's mark for text that is not to be wrapped
    settings = read_settings(config_file, given)
    replays = [(find_recording(Path(path)), Replay(Ledger(settings.spans))) for path in paths]
    count = Count(printer_of(output or ("text" if dry_run else None), show_all=show_all))
    if dry_run:
        with reading([path for path, _ in replays]) as advance:
            for path, one in replays:
                for _, batch in one.batches(path, advance):
                    count.add(batch)
                count.end(one)
        count.close()
        report(one for _, one in replays)
        if output in {None, "text"}:
            click.echo(f"{count}; nothing was sent.", err=True)
        return
    clock, otlp = Clock(), settings.config.otlp
    transport = Transport(settings.transport, clock)
    backend = OtlpHttp(transport, otlp.endpoint, is_compressed=otlp.compression == "gzip")
    delivery = Delivery(backend, clock, timeout_s, count.add, Pace(usual_timeout_s=settings.try_timeout_s))
    sending = Sending([path for path, _ in replays], delivery, is_shown=output is None)
    try:
        asyncio.run(_send(transport, delivery, sending, replays, count))
    except (KeyboardInterrupt, InputError):
        _say_account(delivery, count)
        raise
    count.close()
    report(one for _, one in replays)
    if _conclude(delivery, count, f"within {timeout_s:g} s", otlp.endpoint):
        context.exit(EXIT_FOUND)


async def _send(
    transport: Transport, delivery: Delivery, sending: Sending, replays: list[tuple[Path, Replay]], count: Count
) -> None:
    async with transport:
        with sending.bar:
            for path, one in replays:
                await delivery.send(path, one, sending.advance, sending.look)
                count.end(one)


def _conclude(delivery: Delivery, count: Count, patience: str, endpoint: str) -> bool:
    """Say what became of the spans; true if some were rejected. Raises BackendError if some were lost."""
    sender = delivery.sender
    for warning, requests in sender.warnings.most_common(_SHOWN_REASONS):
        note(f"the backend took {requests} requests and says: {printable(warning)}.")
    for why, spans in sender.rejections.most_common(_SHOWN_REASONS):
        note(f"{spans} spans were rejected for good: {printable(why)}.")
    _say_account(delivery, count)
    if not delivery.lost:
        return delivery.rejected > 0
    trouble = sender.trouble
    why = f"{endpoint} has not answered" if trouble is None or isinstance(trouble, Delivered) else trouble.why
    when = "" if isinstance(trouble, Refused) else f" {patience}"
    raise BackendError(f"{delivery.lost} of {delivery.told} spans were not delivered{when}: {why}.")


def _say_account(delivery: Delivery, count: Count) -> None:
    click.echo(f"{count}: {delivery.delivered} sent, {delivery.rejected} rejected, {delivery.lost} lost.", err=True)
