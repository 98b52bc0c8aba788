"""Groups of commands that are imported only when they are called."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Mapping

CONTEXT_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class LazyGroup(click.Group):
    """A group that knows its commands by name, module and one line of help; its help imports no command."""

    def __init__(
        self,
        *args: Any,  # noqa: ANN401 - what click.Group takes
        lazy_commands: Mapping[str, tuple[str, str]],
        **kwargs: Any,  # noqa: ANN401 - what click.Group takes
    ) -> None:
        super().__init__(*args, **kwargs)
        self._lazy_commands = lazy_commands

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands, in the order of their table."""
        del ctx
        return list(self._lazy_commands)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's module and return the command; ``None`` if there is no such command."""
        del ctx
        if cmd_name not in self._lazy_commands:
            return None
        place, line = self._lazy_commands[cmd_name]
        module, _, name = place.partition(":")
        command = getattr(importlib.import_module(module), name or "command")
        assert isinstance(command, click.Command)  # noqa: S101 - a wrong table is a bug of ours
        command.short_help = line
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing any of them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in self._lazy_commands.items()])
