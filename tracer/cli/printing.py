"""How do the commands print what was told?"""

import errno
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import click
from rich.console import Console

from tracer.delivery.readings import Loss
from tracer.explain.document import document
from tracer.explain.phrases import printable
from tracer.explain.rows import is_top
from tracer.explain.terminal.picture import PIPE_WIDTH, print_waterfall
from tracer.explain.waterfall import Waterfall, waterfalls
from tracer.replay import Replay
from tracer.telemetry import otlp
from tracer.telemetry.records import SpanRecord

_GROUP_SPANS = 2_000  # of `-o otlp`: a small recording becomes one group, a large one never fills memory
_LOSSES = {
    Loss.CHILD_MISSING: "children that a run names were not in the input, and are not told: give their TaskRuns and Pods too",
    Loss.LATE_READING: "later readings of what was already told, or of Pods without a TaskRun, left out",
    Loss.LATE_EVENT: "Events of Pods that were already told left out",
    Loss.STRAY_EVENT: "Events of Pods that are not there left out",
    Loss.OWNER_UNKNOWN: "runs told by themselves: the run that owns them is not there",
    Loss.UNSAMPLED: "spans left out, because whoever started the run asked for no trace (sampled flag 00)",
    Loss.NOT_A_PIPELINE: "spans of CustomRuns outside any PipelineRun left out",
}

output_option = click.option("-o", "--output", type=click.Choice(["text", "json", "otlp"]), help="How to print.")
all_rows_option = click.option("--all", "show_all", is_flag=True, help="Draw every row, also of what went well in a large run.")


class Printer(Protocol):
    """Prints spans as they come."""

    def add(self, spans: Iterable[SpanRecord]) -> None:
        """Take spans, none of them twice."""

    def end(self, replay: Replay) -> None:
        """Note that a recording has ended."""

    def close(self) -> None:
        """Print what is left."""


class Pictures:
    """Draws each run when it is told whole, and drops its spans; what goes on comes last."""

    def __init__(self, *, is_json: bool, show_all: bool) -> None:
        """Prepare to print on standard output."""
        self._console = console()
        self._is_json = is_json
        self._show_all = show_all
        self._held: dict[bytes, dict[bytes, SpanRecord]] = {}

    def add(self, spans: Iterable[SpanRecord]) -> None:
        """Take spans, none of them twice."""
        for span in spans:
            trace = self._held.setdefault(span.trace_id, {})
            trace[span.span_id] = span
            if is_top(span):
                (picture,) = (drawn for drawn in waterfalls(trace.values()) if drawn.uid == span.slot.owner_uid)
                self._print(picture)
                for row in picture.root.walk():
                    if row.span is not None:
                        trace.pop(row.span.span_id, None)
                if not trace:
                    del self._held[span.trace_id]

    def end(self, replay: Replay) -> None:
        """Draw what the recording left unfinished."""
        rest = [span for trace in self._held.values() for span in trace.values()]
        self._held.clear()
        for picture in waterfalls(rest, replay.ledger.unfinished(), replay.until_ns):
            self._print(picture)

    def close(self) -> None:
        """Nothing is left."""

    def _print(self, picture: Waterfall) -> None:
        print_picture(self._console, picture, is_json=self._is_json, show_all=self._show_all, indent=None)
        if not self._is_json:
            self._console.print()


class OneRequest:
    """Prints one OTLP/JSON ExportTraceServiceRequest, written as it comes."""

    def __init__(self) -> None:
        """Prepare to print on standard output."""
        self._before = '{"resourceSpans":['
        self._spans: list[SpanRecord] = []

    def add(self, spans: Iterable[SpanRecord]) -> None:
        """Take spans, none of them twice."""
        for span in spans:
            self._spans.append(span)
            if len(self._spans) >= _GROUP_SPANS:
                self._write()

    def end(self, replay: Replay) -> None:
        """Nothing to do: what is unfinished is no span."""

    def close(self) -> None:
        """Write what is left, and the end."""
        self._write()
        sys.stdout.write((self._before if self._before != "," else "") + "]}\n")

    def _write(self) -> None:
        for group in otlp.to_json(otlp.export_request(self._spans)).get("resourceSpans", []):
            sys.stdout.write(self._before + json.dumps(group, separators=(",", ":")))
            self._before = ","
        self._spans = []


class Count:
    """Counts what passes on to another printer, if there is one."""

    def __init__(self, printer: Printer | None = None, *, must_print: bool = True) -> None:
        """Begin at nothing. Unless it must print, a reader who goes away, as `head` does, ends the printing alone."""
        self.runs = self.spans = self.without_pod = 0
        self._printer = printer
        self._must_print = must_print

    def add(self, spans: Iterable[SpanRecord]) -> None:
        """Count spans, none of them twice."""
        taken = list(spans)
        self.spans += len(taken)
        self.runs += sum(is_top(span) for span in taken)
        self.without_pod += sum(is_without_pod(span) for span in taken)
        self._print(lambda printer: printer.add(taken))

    def end(self, replay: Replay) -> None:
        """Pass it on."""
        self._print(lambda printer: printer.end(replay))

    def close(self) -> None:
        """Pass it on."""
        self._print(lambda printer: printer.close())

    def _print(self, do: Callable[[Printer], None]) -> None:
        if self._printer is None:
            return
        try:
            do(self._printer)
        except (OSError, SystemExit) as error:  # rich leaves the program when its reader has gone
            if self._must_print:
                raise
            if isinstance(error, OSError) and error.errno != errno.EPIPE:
                note(f"the output could not be written: {error.strerror}; the sending goes on.")
            self._printer = None
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def __str__(self) -> str:
        """Say it for people."""
        return f"{self.runs} run{'s' * (self.runs != 1)}, {self.spans} spans"


def printer_of(output: str | None, *, show_all: bool) -> Printer | None:
    """Choose how to print; None for not at all."""
    if output is None:
        return None
    return OneRequest() if output == "otlp" else Pictures(is_json=output == "json", show_all=show_all)


def console() -> Console:
    """Open standard output for drawing."""
    opened = Console(highlight=False)
    if not opened.is_terminal:  # COLUMNS says how wide a pipe is, or nothing does
        opened.width = shutil.get_terminal_size((PIPE_WIDTH, 0)).columns
    return opened


def print_picture(on: Console, picture: Waterfall, *, is_json: bool, show_all: bool, indent: int | None) -> None:
    """Print one run, drawn or as JSON."""
    if is_json:
        click.echo(json.dumps(document(picture), indent=indent))
    else:
        print_waterfall(on, picture, show_all=show_all)


def is_without_pod(span: SpanRecord) -> bool:
    """Say whether a step is told from Tekton's status alone, because its Pod was not seen."""
    return span.slot.kind == "step" and not span.slot.pod_uid


def report(replays: Iterable[Replay], steps_without_pod: int) -> None:
    """Say on standard error what could not be read or told, and what rests on little."""
    if steps_without_pod:
        note(
            f"{steps_without_pod} steps are told from Tekton's status alone, for their Pods are gone: to the second, and after a "
            "cancel or a time-out as Tekton claims; what was recorded while it ran has the truth."
        )
    for one in replays:
        if one.half_line is not None:
            note(f"line {one.half_line} is cut off and was left out; the recording may still be written.")
        report_malformed(one.malformed)
        for loss, count in sorted(one.ledger.losses.items()):
            if count:
                note(f"{count} {_LOSSES[loss]}.")


def report_malformed(malformed: Mapping[tuple[str, str, str], int]) -> None:
    """Say how many objects of a kind could not be read, where and why."""
    for (kind, where, why), count in sorted(malformed.items()):
        note(f"{count} malformed {kind} left out, at {where}: {printable(why)}.")


def note(sentence: str) -> None:
    """Say something on standard error."""
    click.echo(f"tracer: {ended(sentence)}", err=True)


def ended(sentence: str) -> str:
    """End a sentence once."""
    return sentence.removesuffix(".") if sentence.endswith("?.") else sentence
