"""The output of the demo: a live table in a terminal, plain lines everywhere else."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from rich.console import RenderableType


@dataclass
class Station:
    """One station of the story."""

    title: str
    started: float
    seconds: float | None = None
    """Its duration; ``None`` while it runs."""
    has_failed: bool = False
    notes: list[str] = field(default_factory=list)


class Screen(Protocol):
    """Shows stations as they happen. ``note`` adds a line to the running station, ``say`` one outside it."""

    stations: list[Station]

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
    def begin(self, title: str) -> None:
        """Begin a station."""

    def note(self, line: str) -> None:
        """Add a line to the running station."""

    def end(self, *, has_failed: bool = False) -> None:
        """End the running station."""

    def say(self, text: str) -> None:
        """Write a line that does not belong to a station."""


def make_screen() -> Screen:
    """A live view if standard output is a terminal, plain lines otherwise."""
    return LiveScreen() if sys.stdout.isatty() else PlainScreen()


@contextmanager
def station(screen: Screen, title: str) -> Iterator[None]:
    """Show a station for as long as the body runs; a failing body marks it failed."""
    screen.begin(title)
    try:
        yield
    except BaseException:
        screen.end(has_failed=True)
        raise
    screen.end()


class PlainScreen:
    """Lines on standard output, each written when it happens."""

    def __init__(self) -> None:
        self.stations: list[Station] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        sys.stdout.flush()

    def begin(self, title: str) -> None:
        """Write the station's title."""
        self.stations.append(Station(title, time.monotonic()))
        _write(f"\n{len(self.stations):>2}. {title}")

    def note(self, line: str) -> None:
        """Write the line under the station."""
        self.stations[-1].notes.append(line)
        _write(f"    {line}")

    def end(self, *, has_failed: bool = False) -> None:
        """Write how long the station took."""
        current = self.stations[-1]
        current.seconds = time.monotonic() - current.started
        current.has_failed = has_failed
        _write(f"    {'FAILED after' if has_failed else 'done in'} {current.seconds:.1f} s")

    def say(self, text: str) -> None:
        """Write the text."""
        _write(text)


class LiveScreen(PlainScreen):
    """A table that grows in place: finished stations with their time, the running one with a clock."""

    notes_shown = 12

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        super().__init__()
        self.console = Console()
        self.live = Live(get_renderable=self._picture, console=self.console, refresh_per_second=8)

    def __enter__(self) -> Self:
        self.live.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.live.__exit__(None, None, None)

    def begin(self, title: str) -> None:
        """Add the station to the picture."""
        self.stations.append(Station(title, time.monotonic()))

    def note(self, line: str) -> None:
        """Add the line to the station in the picture."""
        self.stations[-1].notes.append(line)

    def end(self, *, has_failed: bool = False) -> None:
        """Stop the station's clock."""
        current = self.stations[-1]
        current.seconds = time.monotonic() - current.started
        current.has_failed = has_failed

    def say(self, text: str) -> None:
        """Print the text above the live picture, where it stays."""
        self.live.console.print(text, markup=False, highlight=False)

    def _picture(self) -> RenderableType:
        from rich.console import Group
        from rich.text import Text

        lines: list[RenderableType] = []
        for number, one in enumerate(self.stations, 1):
            running = one.seconds is None
            mark, style = ("✗", "red") if one.has_failed else ("…", "yellow") if running else ("✓", "green")
            seconds = time.monotonic() - one.started if one.seconds is None else one.seconds
            lines.append(
                Text.assemble((f"{mark} ", style), f"{number:>2}. {one.title} ", (f"{seconds:.1f} s", "dim"))
            )
            shown = one.notes[-self.notes_shown :] if running or one.has_failed else one.notes[-4:]
            lines += [Text(f"      {note}", style="dim") for note in shown]
        return Group(*lines)


def _write(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
