"""Plays a day's faults in ten minutes: `python -m tests.soak [short]`; leaves with 1 if a promise was broken."""

import asyncio
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.soak.plan import LONG, SHORT
from tests.soak.play import Soak


def main() -> None:
    """Play, print."""

    def say(line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    plan = SHORT if sys.argv[1:] == ["short"] else LONG
    with TemporaryDirectory(prefix="tracer-soak-") as folder:
        verdict = asyncio.run(Soak(plan, Path(folder), say).play())
    for line in verdict.table:
        say(line)
    for one in verdict.broken:
        say(f"BROKEN: {one}")
    sys.exit(1 if verdict.broken else 0)


if __name__ == "__main__":
    main()
