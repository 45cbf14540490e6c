"""The command that draws a run."""

import difflib
from dataclasses import replace
from pathlib import Path

import click

from tracer.cli.options import RENDERING, read_settings, settings_options
from tracer.cli.printing import OneRequest, all_rows_option, console, is_without_pod, output_option, print_picture, report
from tracer.cli.progress import reading
from tracer.delivery.ledger import Ledger
from tracer.errors import InputError
from tracer.explain.waterfall import Waterfall, waterfalls
from tracer.kube.recording import STDIN, find_recording
from tracer.replay import Replay
from tracer.telemetry.records import SpanRecord

_NAMES_SHOWN = 5
_SHORT_KINDS = {"pr": "PipelineRun", "pipelineruns": "PipelineRun", "tr": "TaskRun", "taskruns": "TaskRun"}  # as kubectl has them


@click.command()
@click.argument("run", required=False)
@click.option("-f", "--file", "path", metavar="PATH", help="A recording: a folder, a file, or - for standard input.")
@click.option("--last", is_flag=True, help="Take the newest run.")
@output_option
@all_rows_option
@settings_options(*RENDERING)
def explain(
    run: str | None,
    path: str | None,
    output: str | None,
    *,
    last: bool,
    show_all: bool,
    config_file: str | None,
    **given: str | None,
) -> None:
    """Draw a run: where the time went, and why it failed.

    RUN is a name, KIND/NAME, NAMESPACE/NAME or a UID; it may be left out if there is one run.
    """
    if path is None:
        raise InputError("This version cannot ask a cluster yet; give a recording, or what `kubectl get` printed, with -f PATH.")
    if run is not None and last:
        raise InputError("RUN and --last exclude each other; give one of them.")
    # People may look at a run that its caller did not sample; it is not sent all the same.
    spans = replace(read_settings(config_file, given, sends=False).spans, honour_sampled_flag=False)
    one, told = Replay(Ledger(spans)), list[SpanRecord]()
    found = find_recording(Path(path))
    with reading([found]) as advance:
        for batch in one.batches(found, advance):
            told += batch.spans
    picture = _choose(waterfalls(told, one.ledger.unfinished(), one.until_ns), run, found, last=last)
    if output == "otlp":
        request = OneRequest()
        request.add(row.span for row in picture.root.walk() if row.span is not None)
        request.close()
    else:
        print_picture(console(), picture, is_json=output == "json", show_all=show_all, indent=2)
    report([one], sum(is_without_pod(row.span) for row in picture.root.walk() if row.span is not None))


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
