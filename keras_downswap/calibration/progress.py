"""A progress bar with the time left, on stderr; none where it is not wanted."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


class Bar:
    """One bar, which the parts of a calibration use in turn."""

    def __init__(self, shown: bool, name: str = "") -> None:
        """Make a bar.

        Args:
            shown: Whether to show it; it is not shown either where stderr is no terminal.
            name: What stands before the title of each part.
        """
        self.name = name
        console = Console(stderr=True)
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[state]}"),
            console=console,
            disable=not (shown and console.is_terminal),
            transient=True,
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
        """Remove it."""
        self.progress.stop()

    def steps(self, title: str, count: int) -> Callable[[str], None]:
        """Begin a part of so many steps.

        Returns:
            A function to be called as each step begins, with its name.
        """
        task = self.progress.add_task(self.name + title, total=count, state="")
        # A step is completed when the next one begins, so the first call completes none.
        completed = iter(range(count + 1))

        def begin_step(state: str) -> None:
            self.progress.update(task, completed=next(completed), state=state)

        return begin_step

    def share(self, title: str) -> Callable[[float, str], None]:
        """Begin a part whose steps are not counted.

        Returns:
            A function to be called with the share that is done and a state in words; an empty state
            leaves the one that is shown.
        """
        task = self.progress.add_task(self.name + title, total=1.0, state="")

        def update(done: float, state: str) -> None:
            shown = state or self.progress.tasks[task].fields["state"]
            self.progress.update(task, completed=done, state=shown)

        return update
