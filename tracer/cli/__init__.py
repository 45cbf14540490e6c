"""Which commands are there? One sentence and an exit code for everything that can go wrong.

Each command stands in a module of its own; `printing` has what they print, `options` how settings are given.
"""

import errno
import os
import sys
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import click

from tracer import __version__
from tracer.cli.check import check
from tracer.cli.demo import demo
from tracer.cli.doctor import doctor
from tracer.cli.explain import explain
from tracer.cli.printing import ended
from tracer.cli.record import record
from tracer.cli.replay import replay
from tracer.cli.run import run
from tracer.errors import EXIT_CODES, TracerError
from tracer.explain.phrases import printable
from tracer.telemetry import otlp

EXIT_USAGE, EXIT_INTERRUPTED = 2, 130
_LIBRARIES = (
    *("aiohttp", "click", "jinja2", "kubernetes", "msgspec", "opentelemetry-proto", "prometheus-client", "protobuf", "PyYAML"),
    *("rich", "tenacity"),
)
_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}
_EXIT_CODES = f"Exit codes: {', '.join(f'{code} {meaning}' for code, meaning in EXIT_CODES.items())}."


@click.group(context_settings=_CONTEXT, epilog=_EXIT_CODES)
@click.version_option(__version__, prog_name="tracer")
def cli() -> None:
    """Tell the story of Tekton runs as OpenTelemetry traces: every step with the moment it truly began and ended, and how."""


@cli.command()
def version() -> None:
    """Print the versions of tracer, its span model and its libraries."""
    click.echo(f"tracer {__version__}, span model {otlp.MODEL_VERSION}, Python {sys.version.split()[0]}")
    for library in _LIBRARIES:
        click.echo(f"  {library} {metadata.version(library)}")


for command in (run, doctor, explain, record, replay, demo, check):
    cli.add_command(command)


def main() -> None:
    """Run a command; say what went wrong in one sentence and leave with its exit code."""
    # Closed by whoever started us: there is nobody to tell, but there may be something to send.
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115 - until the end
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115
    code = 0
    try:
        code = cli.main(standalone_mode=False) or 0
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        sys.exit(EXIT_USAGE)
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx is not None else "tracer"
        said = error.format_message().rstrip(".").replace(". (", " (")  # click adds a guess as a sentence of its own
        _fail(f"{said}{' See' if said.endswith('?') else '; see'} `{command} --help`.", EXIT_USAGE)
    except click.Abort:
        sys.exit(EXIT_INTERRUPTED)
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
        code = 0
    sys.exit(code)


def _fail(sentence: str, code: int) -> None:
    click.echo(f"tracer: {ended(printable(sentence))}", err=True)
    sys.exit(code)
