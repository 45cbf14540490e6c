"""The page docs/reference/command-line.md: every command with its help, and every exit code with what is said then."""

import asyncio
import tempfile
from dataclasses import replace
from pathlib import Path

import click

from tests.asked import Done, ask, kubeconfig
from tests.reference.writing import head, sentence, table
from tests.replies import rejects, says
from tracer.cli import cli
from tracer.demo.apiserver import ApiServer
from tracer.demo.protocol import Verb
from tracer.demo.receiver import Receiver, Reply
from tracer.errors import EXIT_CODES
from tracer.tekton.names import Kind

_WIDTH = 100
_RECORDING = "tests/recordings/cancel"
_ABOUT = """
What is printed goes to standard output, what there is to say about it to standard error. [Configuration](configuration.md)
has every setting with its variables.
"""
_EXIT_CODES = """
## Exit codes

Whatever goes wrong is one sentence on standard error: what it was, where, what to do. `tracer run` waits for what is not
there instead of ending with 3, 4 or 5; with `--once` it ends.

{codes}"""
_UNSAID = {
    1: "Python's traceback, which is for us: please report it",
    130: "nothing, but what `tracer replay` has sent by then: Ctrl-C ended it; `tracer run` and `tracer record` end with 0",
}
_SENDING = f"tracer replay --otlp-endpoint http://collector:4318 {_RECORDING}"
_DRAWING = "tracer explain --all-namespaces --last"


def page() -> str:
    """Write the page."""
    top = cli.make_context("tracer", [], resilient_parsing=True, terminal_width=_WIDTH)
    parts = [head("Command line", "the commands' own help"), _ABOUT, _help(cli, top)]
    for name, command in sorted(cli.commands.items()):
        context = command.make_context(name, [], parent=top, resilient_parsing=True, terminal_width=_WIDTH)
        parts.append(f"\n## tracer {name}\n{_help(command, context)}")
    rows = [(str(code), sentence(meaning), *_example(code)) for code, meaning in EXIT_CODES.items() if code in _UNSAID]
    rows += [
        (str(done.code), sentence(EXIT_CODES[done.code]), f"`{command}`{remark}", "<br>".join(f"`{line}`" for line in done.said))
        for command, remark, done in asyncio.run(examples())
    ]
    codes = table(("code", "", "for example", "what is said"), sorted(rows, key=lambda row: int(row[0])))
    return "".join([*parts, _EXIT_CODES.format(codes=codes)])


def _help(command: click.Command, context: click.Context) -> str:
    return f"\n```text\n{command.get_help(context)}\n```\n"


def _example(code: int) -> tuple[str, str]:
    return "", sentence(_UNSAID[code])


async def examples() -> list[tuple[str, str, Done]]:
    """Let a command end with each of the codes that ours choose, on loopback: as a person types it, where it is, what it said."""
    async with ApiServer() as forbidding, ApiServer() as bare, Receiver() as receiver:
        for verb in (Verb.LIST, Verb.WATCH):
            forbidding.forbid(Kind.PIPELINE_RUN, verb)
        bare.uninstall(Kind.TASK_RUN)
        named = {receiver.url: "http://collector:4318/v1/traces"}
        named |= dict.fromkeys((forbidding.url, bare.url), "https://10.0.0.1:443")

        async def send(*replies: Reply) -> Done:
            receiver.reply_with(replies)
            return await ask(*_SENDING.replace("http://collector:4318", receiver.url).split()[1:])

        async def draw(server: ApiServer) -> Done:
            with tempfile.TemporaryDirectory() as folder:
                return await ask(*_DRAWING.split()[1:], "--kubeconfig", str(kubeconfig(Path(folder), server.url, "default")))

        unknown = f"tracer explain -f {_RECORDING} rum"
        done = [
            (_SENDING, "", await send()),
            (unknown, "", await ask(*unknown.split()[1:])),
            (_DRAWING, " where Tekton is not installed", await draw(bare)),
            (_DRAWING, " as somebody who may not", await draw(forbidding)),
            (_SENDING, " to a backend that wants credentials", await send(says(401))),
            (_SENDING, " to a backend that takes nothing so old", await send(rejects(2, "too old"))),
        ]
    return [(command, remark, replace(one, error=_renamed(one.error, named))) for command, remark, one in done]


def _renamed(text: str, names: dict[str, str]) -> str:
    for real, name in names.items():
        text = text.replace(real, name)
    return text
