"""A progress bar with the time left, on stderr; none where it is not wanted."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


class Bar:
    """One bar, which stages of work take in turn."""

    def __init__(self, shown: bool, name: str = "") -> None:
        """Make a bar, shown or not, with a name that goes before those of the stages."""
        self.name = name
        columns: list[Any] = [
            TextColumn("{task.description}"),
            BarColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[state]}"),
        ]
        console = Console(stderr=True)
        self.progress = Progress(
            *columns, console=console, disable=not (shown and console.is_terminal), transient=True
        )

    def __enter__(self) -> Bar:
        """Show it."""
        self.progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take it away."""
        self.progress.stop()

    def steps(self, name: str, count: int) -> Callable[[str], None]:
        """Return what is told the name of each of so many steps as it begins."""
        task = self.progress.add_task(self.name + name, total=count, state="")
        begun = iter(range(count + 1))

        def tell(what: str) -> None:
            self.progress.update(task, completed=next(begun), state=what)

        return tell

    def share(self, name: str) -> Callable[[float, str], None]:
        """Return what is told the share of the work that is done, and how it stands."""
        task = self.progress.add_task(self.name + name, total=1.0, state="")

        def tell(done: float, state: str) -> None:
            self.progress.update(
                task, completed=done, state=state or self.progress.tasks[task].fields["state"]
            )

        return tell
