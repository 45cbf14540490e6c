"""The command that looks whether all is there that tracer needs."""

import asyncio
import json
from functools import partial

import click

from tracer.cli.options import SENDING, WATCHING, cluster_options, open_api, read_settings, settings_options
from tracer.clock import Clock
from tracer.doctor import Check, Finding, State, diagnose
from tracer.explain.phrases import printable

_STATE_WIDTH, _CHECK_WIDTH = (max(map(len, words)) for words in (State, Check))


@click.command()
@click.option("--no-send", is_flag=True, help="Send no test span.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="How to print.")
@cluster_options
@settings_options(*WATCHING, *SENDING)
@click.pass_context
def doctor(
    context_of_command: click.Context,
    /,
    output: str,
    kubeconfig: str | None,
    context: str | None,
    *,
    no_send: bool,
    config_file: str | None,
    **given: str | None,
) -> None:
    """Look whether all is there that the work takes.

    That is the API server, Tekton's kinds, each right, a watch, and a backend that takes a test span. Every check gives a line,
    and what to do about it on the next one. Nothing in the cluster is changed. The exit code is that of the first failure: 3
    the API server or Tekton's kinds are not there, 4 a right is missing, 5 the backend cannot be reached or refuses.

    \b
    -o json   print one JSON object a check and line
    """  # noqa: D301 - click's mark for text that is not to be wrapped
    settings = read_settings(config_file, given, sends=not no_send)
    tell = _print_json if output == "json" else _print_text
    find = partial(open_api, kubeconfig, context)
    context_of_command.exit(asyncio.run(diagnose(find, settings, Clock(), tell, sends=not no_send)))


def _print_text(finding: Finding) -> None:
    click.echo(f"{finding.state:{_STATE_WIDTH}}  {finding.check:{_CHECK_WIDTH}}  {printable(finding.found)}")
    if finding.remedy:
        click.echo(f"{'':{_STATE_WIDTH + _CHECK_WIDTH + 4}}{printable(finding.remedy)}")


def _print_json(finding: Finding) -> None:
    said = {"check": finding.check, "state": finding.state, "found": finding.found, "remedy": finding.remedy}
    click.echo(json.dumps(said))
