"""How are other programs run, and waited for? Every failure is one sentence: what, where, what to do."""

import os
import subprocess
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path

ENVIRONMENT: Mapping[str, str] = os.environ  # noqa: TID251 - what go, apt-get and the components inherit
Argument = str | Path


class LabError(Exception):
    """What failed, where, and what to do about it."""


def run(
    *command: Argument, stdin: str | None = None, folder: Path | None = None, more: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, whatever its exit code; `more` stands beside the environment that there is.

    Raises LabError if there is no such program.
    """
    try:
        return subprocess.run(
            [str(one) for one in command],
            input=stdin,
            cwd=folder,
            env={**ENVIRONMENT, **(more or {})},
            text=True,
            capture_output=True,
            check=False,
        )
    except FileNotFoundError as error:
        raise LabError(f"There is no {error.filename}: run `build`.") from error


def call(*command: Argument, stdin: str | None = None, folder: Path | None = None, more: Mapping[str, str] | None = None) -> str:
    """Run a program and give what it printed.

    Raises LabError with the program's own words if it failed, or if there is no such program.
    """
    done = run(*command, stdin=stdin, folder=folder, more=more)
    if done.returncode:
        words = (done.stderr or done.stdout).strip()
        raise LabError(f"`{' '.join(map(str, command))}` failed with exit code {done.returncode}: {words}")
    return done.stdout.strip()


def wait_until(is_so: Callable[[], bool], within_s: float) -> bool:
    """Ask until the answer is yes, at most for so long; give the last answer."""
    deadline = time.monotonic() + within_s
    while not is_so():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def answers_ok(port: int, path: str) -> bool:
    """Say whether a server on loopback answers 200."""
    connection = HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
