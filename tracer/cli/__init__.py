"""Which commands are there? Reads flags, opens files, prints; one sentence and an exit code for everything that can go wrong."""

import difflib
import errno
import json
import math
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path

import click
from rich import progress
from rich.console import Console

from tracer import __version__
from tracer.delivery.ledger import Ledger
from tracer.delivery.readings import Loss
from tracer.demo.player import packaged_recordings, play
from tracer.errors import InputError, TracerError
from tracer.explain.document import document
from tracer.explain.rows import is_top
from tracer.explain.terminal.glyphs import printable
from tracer.explain.terminal.picture import PIPE_WIDTH, print_waterfall
from tracer.explain.waterfall import Waterfall, waterfalls
from tracer.kube.recording import STDIN, Progress, find_recording, size_bytes
from tracer.replay import Replay
from tracer.telemetry import otlp
from tracer.telemetry.places import SpanSettings
from tracer.telemetry.records import SpanRecord

EXIT_BUG, EXIT_USAGE = 1, 2
_BATCH_SPANS = 2_000  # of one `-o otlp` group: a small recording becomes one, a large one never fills memory
_WORTH_A_BAR_BYTES = 4 << 20
_NAMES_SHOWN = 5
_SHORT_KINDS = {"pr": "PipelineRun", "pipelineruns": "PipelineRun", "tr": "TaskRun", "taskruns": "TaskRun"}  # as kubectl has them
_LOSSES = {
    Loss.CHILD_MISSING: "children that a run names were not in the input, and are not told: give their TaskRuns and Pods too",
    Loss.LATE_READING: "later readings of what was already told, or of Pods without a TaskRun, left out",
    Loss.LATE_EVENT: "Events of Pods that are not there left out",
    Loss.OWNER_UNKNOWN: "runs told by themselves: the run that owns them is not there",
    Loss.UNSAMPLED: "spans left out, because whoever started the run asked for no trace (sampled flag 00)",
    Loss.NOT_A_PIPELINE: "spans of CustomRuns outside any PipelineRun left out",
}
_LIBRARIES = ("click", "msgspec", "opentelemetry-proto", "protobuf", "PyYAML", "rich")
_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}

_output = click.option(
    "-o", "--output", type=click.Choice(["text", "json", "otlp"]), default="text", show_default=True, help="How to print."
)
_all_rows = click.option("--all", "show_all", is_flag=True, help="Draw every row, also of what went well in a large run.")


@click.group(context_settings=_CONTEXT)
@click.version_option(__version__, prog_name="tracer")
def cli() -> None:
    """Tell the story of Tekton runs as OpenTelemetry traces: every step with the moment it truly began and ended, and how.

    Exit codes: 0 done, 1 a bug, 2 a wrong flag, input or unknown run.
    """


@cli.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--dry-run", is_flag=True, help="Print the spans and send nothing.")
@_output
@_all_rows
def replay(paths: tuple[str, ...], output: str, *, dry_run: bool, show_all: bool) -> None:
    """Turn recordings into the spans that would be sent.

    PATH is a folder with watch.jsonl or objects.json, a file of watch events, what `kubectl get -o json|yaml` prints, or - for
    standard input.

    \b
    -o text   the waterfall of each run
    -o json   one JSON object a run and line
    -o otlp   one OTLP/JSON ExportTraceServiceRequest with every span
    """  # noqa: D301 - click's mark for text that is not to be wrapped
    if not dry_run:
        raise InputError("This version cannot send spans yet; add --dry-run to print them.")
    console = _console()
    replays = [(path, Replay()) for path in (find_recording(Path(path)) for path in paths)]
    spans = _Count()
    with _progress([path for path, _ in replays]) as advance:
        if output == "otlp":
            _print_otlp(spans.count(span) for path, one in replays for _, batch in one.batches(path, advance) for span in batch)
        else:
            for path, one in replays:
                for picture in _pictures(one, path, advance, spans):
                    _print_picture(console, picture, output, show_all=show_all, is_line=True)
    _report([one for _, one in replays], spans, is_summary=output == "text")


@cli.command()
@click.argument("run", required=False)
@click.option("-f", "--file", "path", metavar="PATH", help="A recording: a folder, a file, or - for standard input.")
@click.option("--last", is_flag=True, help="Take the newest run.")
@_output
@_all_rows
def explain(run: str | None, path: str | None, output: str, *, last: bool, show_all: bool) -> None:
    """Draw a run: where the time went, and why it failed.

    RUN is a name, KIND/NAME, NAMESPACE/NAME or a UID; it may be left out if there is one run.
    """
    if path is None:
        raise InputError("This version cannot ask a cluster yet; give a recording, or what `kubectl get` printed, with -f PATH.")
    if run is not None and last:
        raise InputError("RUN and --last exclude each other; give one of them.")
    # People may look at a run that its caller did not sample; it is not sent all the same.
    one, spans, told = Replay(Ledger(SpanSettings(honour_sampled_flag=False))), _Count(), list[SpanRecord]()
    found = find_recording(Path(path))
    with _progress([found]) as advance:
        for _, batch in one.batches(found, advance):
            told += (spans.count(span) for span in batch)
    pictures = waterfalls(told, one.ledger.unfinished(), one.until_ns)
    picture = _choose(pictures, run, found, last=last)
    if output == "otlp":
        _print_otlp(row.span for row in picture.root.walk() if row.span is not None)
    else:
        _print_picture(_console(), picture, output, show_all=show_all)
    _report([one], spans, is_summary=False)


@cli.command()
@click.argument("recording", required=False, metavar="[RECORDING]")
@click.option(
    "--speed", type=click.FloatRange(min=0.1), default=4.0, show_default=True, help="How many times faster than it was."
)
def demo(recording: str | None, speed: float) -> None:
    """Play a real recording: steps appear as they end, then the waterfall.

    RECORDING is one of the packaged ones, or a path. The packaged ones: cancel, failing-step, retries, success, task-timeout.
    """
    if not math.isfinite(speed):
        raise InputError(f"--speed {speed} is no speed; give a number such as 4.")
    play(_console(), _demo_path(recording), speed)


@cli.command()
def version() -> None:
    """Print the versions of tracer, its span model and the libraries below it."""
    click.echo(f"tracer {__version__}, span model {otlp.MODEL_VERSION}, Python {sys.version.split()[0]}")
    for library in _LIBRARIES:
        click.echo(f"  {library} {metadata.version(library)}")


def main() -> None:
    """Run a command; say what went wrong in one sentence and leave with its exit code."""
    if sys.stdout is None or sys.stderr is None:
        sys.exit(EXIT_USAGE)  # closed by whoever started us: there is nobody to tell
    try:
        cli.main(standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        sys.exit(EXIT_USAGE)
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx is not None else "tracer"
        _fail(f"{error.format_message().rstrip('.')}; see `{command} --help`.", EXIT_USAGE)
    except click.Abort:
        sys.exit(130)
    except TracerError as error:
        _fail(str(error), error.exit_code)
    except OSError as error:
        with suppress(OSError):
            sys.stdout.close()  # what it still holds cannot be written either
        if error.errno == errno.EPIPE:
            sys.exit(0)
        _fail(f"The output could not be written: {error.strerror}.", EXIT_USAGE)
    except SystemExit:
        # Without its own mode click leaves by itself only when our reader has gone, as `head` does: that is no bug.
        sys.exit(0)


def _fail(sentence: str, code: int) -> None:
    click.echo(f"tracer: {printable(sentence)}", err=True)
    sys.exit(code)


def _console() -> Console:
    console = Console(highlight=False)
    if not console.is_terminal:  # COLUMNS says how wide a pipe is, or nothing does
        console.width = shutil.get_terminal_size((PIPE_WIDTH, 0)).columns
    return console


class _Count:
    """Counts spans on their way."""

    def __init__(self) -> None:
        self.spans = 0
        self.runs = 0

    def count(self, span: SpanRecord) -> SpanRecord:
        self.spans += 1
        return span


def _pictures(one: Replay, path: Path, advance: Progress, spans: _Count) -> Iterator[Waterfall]:
    """Draw each run when it is told whole, and drop its spans; what goes on comes last."""
    held: dict[bytes, dict[bytes, SpanRecord]] = {}
    for _, batch in one.batches(path, advance):
        for span in batch:
            spans.count(span)
            trace = held.setdefault(span.trace_id, {})
            trace[span.span_id] = span
            if is_top(span):
                spans.runs += 1
                (picture,) = (drawn for drawn in waterfalls(trace.values()) if drawn.uid == span.slot.owner_uid)
                yield picture
                for row in picture.root.walk():
                    if row.span is not None:
                        trace.pop(row.span.span_id, None)
                if not trace:
                    del held[span.trace_id]
    rest = [span for trace in held.values() for span in trace.values()]
    yield from waterfalls(rest, one.ledger.unfinished(), one.until_ns)


def _print_picture(console: Console, picture: Waterfall, output: str, *, show_all: bool, is_line: bool = False) -> None:
    if output == "json":
        click.echo(json.dumps(document(picture), indent=None if is_line else 2))
        return
    print_waterfall(console, picture, show_all=show_all)
    if is_line:
        console.print()


def _print_otlp(spans: Iterable[SpanRecord]) -> None:
    """Print one request, written as it comes."""
    before = '{"resourceSpans":['
    for batch in _batched(spans):
        for group in otlp.to_json(otlp.export_request(batch)).get("resourceSpans", []):
            sys.stdout.write(before + json.dumps(group, separators=(",", ":")))
            before = ","
    sys.stdout.write((before if before != "," else "") + "]}\n")


def _batched(spans: Iterable[SpanRecord]) -> Iterator[list[SpanRecord]]:
    batch: list[SpanRecord] = []
    for span in spans:
        batch.append(span)
        if len(batch) >= _BATCH_SPANS:
            yield batch
            batch = []
    if batch:
        yield batch


def _choose(pictures: list[Waterfall], run: str | None, path: Path, *, last: bool) -> Waterfall:
    """Find the run that is meant. Raises InputError, with the nearest names, if there is none or more than one."""
    where = "Standard input" if path == STDIN else str(path)
    if not pictures:
        raise InputError(f"{where} tells of no run that can be drawn; expected a PipelineRun or a TaskRun.")
    newest = max(pictures, key=lambda one: one.start_ns)
    if last or (run is None and len(pictures) == 1):
        return newest
    named = [_shortest_name(one, pictures) for one in pictures]
    if run is None:
        raise InputError(f"{where} tells of {len(pictures)} runs; name one of {_some(named)}, or add --last.")
    kind, _, name = run.rpartition("/")
    kind = _SHORT_KINDS.get(kind.lower(), kind).lower()
    found = [
        one for one in pictures if one.uid == run or (one.run_name == name and kind in {"", one.kind.lower(), one.namespace})
    ]
    if not found:
        near = difflib.get_close_matches(name, [one.run_name for one in pictures], n=3, cutoff=0.3)
        raise InputError(f"{where} tells of no run {run}; the nearest are {_some(near or named)}.")
    if len(found) > 1:
        raise InputError(
            f"{where} tells of {len(found)} runs {run}; give {_some([_shortest_name(one, pictures) for one in found])}."
        )
    return found[0]


def _shortest_name(picture: Waterfall, among: list[Waterfall]) -> str:
    """Name a run so that it is found: by its name, with its namespace, or by its UID."""
    same = [one for one in among if one.run_name == picture.run_name]
    if len(same) == 1:
        return f"{picture.kind}/{picture.run_name}"
    return (
        f"{picture.namespace}/{picture.run_name}" if sum(one.namespace == picture.namespace for one in same) == 1 else picture.uid
    )


def _some(names: list[str]) -> str:
    unique = list(dict.fromkeys(names))
    rest = len(unique) - _NAMES_SHOWN
    return ", ".join(unique[:_NAMES_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


@contextmanager
def _progress(paths: list[Path]) -> Iterator[Progress]:
    """Show a bar on a terminal while a large recording is read."""
    sizes = [size_bytes(path) for path in paths]
    total = sum(size or 0 for size in sizes)
    console = Console(stderr=True)
    if not console.is_terminal or total < _WORTH_A_BAR_BYTES:
        yield lambda _: None
        return
    columns = [progress.TextColumn("reading"), progress.BarColumn(), progress.DownloadColumn(), progress.TimeElapsedColumn()]
    with progress.Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("reading", total=total)
        yield lambda count: bar.advance(task, count)


def _report(replays: list[Replay], spans: _Count, *, is_summary: bool) -> None:
    """Say on standard error what was told, and what could not be."""
    out = sys.stderr
    for one in replays:
        if one.half_line is not None:
            out.write(f"tracer: line {one.half_line} is cut off and was left out; the recording may still be written.\n")
        for (kind, where), count in sorted(one.malformed.items()):
            out.write(f"tracer: {count} malformed {kind} left out, at {where}.\n")
        for loss, count in sorted(one.ledger.losses.items()):
            if count:
                out.write(f"tracer: {count} {_LOSSES[loss]}.\n")
    if is_summary:
        out.write(f"{spans.runs} run{'s' * (spans.runs != 1)}, {spans.spans} spans; nothing was sent.\n")


def _demo_path(recording: str | None) -> Path:
    packaged = packaged_recordings()
    if recording is None:
        return packaged["failing-step"]
    if recording in packaged:
        return packaged[recording]
    if "/" in recording or Path(recording).exists():
        return find_recording(Path(recording))
    near = difflib.get_close_matches(recording, packaged, n=1, cutoff=0.3)
    hint = f"did you mean {near[0]}? The others are" if near else "there are"
    others = [name for name in packaged if name not in near]
    raise InputError(f"There is no packaged recording {recording}; {hint} {_some(others)}.")
