"""The command that draws a run."""

import asyncio
import difflib
from dataclasses import replace
from pathlib import Path

import click

from tracer.cli.files import STDOUT, check_target, write_whole
from tracer.cli.options import (
    RENDERING,
    cluster_options,
    namespace_options,
    open_api,
    read_namespaces,
    read_settings,
    say_namespaces,
    settings_options,
)
from tracer.cli.printing import OneRequest, all_rows_option, console, is_without_pod, note, output_option, print_picture, report
from tracer.cli.progress import reading, waiting
from tracer.clock import Clock
from tracer.delivery.ledger import Ledger
from tracer.delivery.readings import Loss
from tracer.errors import ApiError, InputError
from tracer.explain.phrases import printable
from tracer.explain.waterfall import Waterfall, waterfalls
from tracer.kube.credentials import InCluster, Kubeconfig
from tracer.kube.recording import STDIN, find_recording
from tracer.replay import Replay, read_cluster
from tracer.telemetry.records import SpanRecord
from tracer.transport import Transport

_NAMES_SHOWN = 5
_SHORT_KINDS = {"pr": "PipelineRun", "pipelineruns": "PipelineRun", "tr": "TaskRun", "taskruns": "TaskRun"}  # as kubectl has them


@click.command()
@click.argument("run", required=False)
@click.option("-f", "--file", "path", metavar="PATH", help="A recording instead of a cluster: a folder, a file, or - for stdin.")
@namespace_options
@cluster_options
@click.option("--last", is_flag=True, help="Take the newest run.")
@output_option
@click.option("--html", metavar="FILE", help="Write one page for a browser instead, that loads nothing; - for standard output.")
@all_rows_option
@settings_options(*RENDERING)
def explain(
    run: str | None,
    path: str | None,
    namespaces: tuple[str, ...],
    kubeconfig: str | None,
    context: str | None,
    output: str | None,
    html: str | None,
    *,
    all_namespaces: bool,
    last: bool,
    show_all: bool,
    config_file: str | None,
    **given: str | None,
) -> None:
    """Draw a run: where the time went, and why it failed.

    It is read from a cluster, or with -f from a recording. RUN is a name, KIND/NAME, NAMESPACE/NAME or a UID; it may be left
    out if there is one run. A run that goes on is drawn as far as it is known.
    """
    if run is not None and last:
        raise InputError("RUN and --last exclude each other; give one of them.")
    if html is not None and output is not None:
        raise InputError("--html FILE and -o exclude each other; give one of them.")
    if html is not None:
        check_target("--html", html)
    if path is not None and (namespaces or all_namespaces or kubeconfig or context):
        raise InputError("-f PATH reads a recording, and no cluster; leave it out, or the cluster's flags.")
    # People may look at a run that its caller did not sample; it is not sent all the same.
    spans = replace(read_settings(config_file, given, sends=False).spans, honour_sampled_flag=False)
    one = Replay(Ledger(spans))
    if path is not None:
        who_tells, told = _read_recording(one, find_recording(Path(path)))
    else:
        try:
            api = open_api(kubeconfig, context)
        except ApiError as error:
            raise ApiError(f"{str(error).removesuffix('.')}, or draw a recording with -f PATH.") from error
        meant = read_namespaces(namespaces, all_namespaces=all_namespaces, default=api.namespace)
        who_tells, told = _read_cluster(one, api, meant)
    picture = _choose(waterfalls(told, one.ledger.unfinished(), one.until_ns, is_now=path is None), run, who_tells, last=last)
    if html is not None:
        from tracer.explain.page import render  # noqa: PLC0415 - jinja2, which no other command needs

        write_whole("--html", html, render(picture, show_all=show_all))
        if html != STDOUT:
            note(f"the page is in {printable(html)}; open it with a browser.")
    elif output == "otlp":
        request = OneRequest()
        request.add(row.span for row in picture.root.walk() if row.span is not None)
        request.close()
    else:
        print_picture(console(), picture, is_json=output == "json", show_all=show_all, indent=2)
    report([one], sum(is_without_pod(row.span) for row in picture.root.walk() if row.span is not None))


def _read_recording(one: Replay, path: Path) -> tuple[str, list[SpanRecord]]:
    """Take a recording in; give its name with its verb, and all spans."""
    with reading([path]) as advance:
        told = [span for batch in one.batches(path, advance) for span in batch.spans]
    return f"{'Standard input' if path == STDIN else path} tells", told


def _read_cluster(one: Replay, api: InCluster | Kubeconfig, namespaces: tuple[str, ...]) -> tuple[str, list[SpanRecord]]:
    """Take in what a cluster holds now; give what was looked at with its verb, and all spans."""

    async def look() -> list[str]:
        clock = Clock()
        async with Transport(api.transport, clock) as transport:
            return await read_cluster(one, api, transport, clock, namespaces)

    named = say_namespaces(namespaces)
    with waiting(f"reading {named}"):
        left_out = asyncio.run(look())
    for sentence in left_out:
        note(f"passed over: {printable(sentence)}")
    told = [span for batch in one.rest() for span in batch.spans]
    one.ledger.losses.pop(Loss.STRAY_EVENT, None)  # those of Pods that are not Tekton's come too
    return f"{named[0].upper()}{named[1:]} tell{'s' * (len(namespaces) == 1 and namespaces != ('',))}", told


def _choose(pictures: list[Waterfall], run: str | None, who_tells: str, *, last: bool) -> Waterfall:
    """Find the run that is meant. Raises InputError, with the nearest names, if there is none or more than one."""
    if not pictures:
        raise InputError(f"{who_tells} of no run that can be drawn; expected a PipelineRun or a TaskRun.")
    newest = max(pictures, key=lambda one: one.start_ns)
    if last or (run is None and len(pictures) == 1):
        return newest
    named = [_shortest_name(one, pictures) for one in pictures]
    if run is None:
        raise InputError(f"{who_tells} of {len(pictures)} runs; name one of {_some(named)}, or add --last.")
    kind, _, name = run.rpartition("/")
    kind = _SHORT_KINDS.get(kind.lower(), kind).lower()
    found = [
        one for one in pictures if one.uid == run or (one.run_name == name and kind in {"", one.kind.lower(), one.namespace})
    ]
    if not found:
        near = difflib.get_close_matches(name, [one.run_name for one in pictures], n=3, cutoff=0.3)
        like = [called for called, one in zip(named, pictures, strict=True) if one.run_name in near]
        raise InputError(f"{who_tells} of no run {run}; {'the nearest' if like else 'there'} {_are(like or named)}.")
    if len(found) > 1:
        raise InputError(
            f"{who_tells} of {len(found)} runs {run}; give {_some([_shortest_name(one, pictures) for one in found])}."
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


def _are(names: list[str]) -> str:
    return f"{'is' if len(set(names)) == 1 else 'are'} {_some(names)}"


def _some(names: list[str]) -> str:
    unique = list(dict.fromkeys(names))
    rest = len(unique) - _NAMES_SHOWN
    return ", ".join(unique[:_NAMES_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
