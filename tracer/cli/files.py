"""How does what a command made come into the file that was asked for?

Keeps: a file is whole, or what it was before; its mode stays, so that what was private is private.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from stat import S_IMODE

import click

from tracer.errors import InputError

STDOUT = "-"


def check_target(option: str, name: str) -> None:
    """Raise InputError if an option names what can be no file, before any work is done for it."""
    path = Path(name)
    if name == STDOUT:
        return
    with _said(option, path):
        if path.is_dir():
            raise InputError(f"{option} names the folder {path}; name a file in it, such as {path / 'run.html'}.")
        if not path.parent.is_dir():
            raise InputError(f"{option} names {path}, and there is no folder {path.parent}; make it, or name another file.")


def write_whole(option: str, name: str, text: str) -> None:
    """Write a text, in UTF-8: to standard output, into a pipe or a device, or through a link; in the place of a file all at once.

    Raises InputError, with the file and what to do, if that cannot be.
    """
    path = Path(name)
    if name == STDOUT:
        click.echo(text.encode(), nl=False)
        return
    with _said(option, path):
        if path.is_symlink() or (path.exists() and not path.is_file()):
            path.write_bytes(text.encode())  # the kernel may refuse to follow another's link, as it does in /tmp
        else:
            _replace(path, text.encode())


def _replace(path: Path, content: bytes) -> None:
    half = path.with_name(f".{token_hex(8)}.half")  # a process's number is the same in each container
    try:
        with half.open("xb") as file:
            if path.exists():
                half.chmod(S_IMODE(path.stat().st_mode))  # while there is nothing in it to be read
            file.write(content)
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)  # it is gone, unless something went wrong


@contextmanager
def _said(option: str, path: Path) -> Iterator[None]:
    """Say as one sentence what the system says."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{path} cannot be written: {error.strerror}; let {option} name a file in a folder that you may write to, "
            f"or {STDOUT} for standard output."
        ) from error
