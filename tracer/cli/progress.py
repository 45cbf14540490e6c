"""How does long work show that it goes on? With a bar, on a terminal alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich import progress
from rich.console import Console
from rich.table import Column
from rich.text import Text

from tracer.explain.phrases import printable
from tracer.kube.recording import Progress, size_bytes
from tracer.replay import Delivery

_WORTH_A_BAR_BYTES = 4 << 20


@contextmanager
def reading(paths: list[Path]) -> Iterator[Progress]:
    """Show a bar while a large recording is read."""
    console = Console(stderr=True)
    if not console.is_terminal or _total(paths) < _WORTH_A_BAR_BYTES:
        yield lambda _: None
        return
    columns = [progress.TextColumn("reading"), progress.BarColumn(), progress.DownloadColumn(), progress.TimeElapsedColumn()]
    with progress.Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("reading", total=_total(paths))
        yield lambda count: bar.advance(task, count)


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Say on a terminal what is being waited for; the line goes when it is there."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    with console.status(Text(f"{printable(what)} ...")):
        yield


class Sending:
    """Shows how much was read and sent, and what the sender is waiting for."""

    def __init__(self, paths: list[Path], delivery: Delivery, *, is_shown: bool) -> None:
        """Prepare; on anything but a terminal nothing is shown."""
        columns = [
            progress.TextColumn("sending", table_column=Column(no_wrap=True)),
            progress.BarColumn(bar_width=16),
            progress.TextColumn("{task.fields[sent]:,} spans", table_column=Column(no_wrap=True)),
            progress.TimeElapsedColumn(table_column=Column(no_wrap=True)),
            progress.TextColumn("{task.fields[trouble]}", markup=False),
        ]
        console = Console(stderr=True)
        self.bar = progress.Progress(*columns, console=console, transient=True, disable=not (is_shown and console.is_terminal))
        self._delivery = delivery
        self._task = self.bar.add_task("sending", total=_total(paths) or None, sent=0, trouble="")

    def advance(self, count: int) -> None:
        """Note that so many bytes were read."""
        self.bar.advance(self._task, count)

    def look(self) -> None:
        """Show how the sender is doing."""
        outcome = self._delivery.sender.trouble
        trouble = "" if outcome is None else f"waiting: {printable(outcome.why)}"
        self.bar.update(self._task, sent=self._delivery.delivered, trouble=trouble)


def _total(paths: list[Path]) -> int:
    return sum(size_bytes(path) or 0 for path in paths)
