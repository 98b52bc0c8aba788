"""The tools that upload, called as the how-to guide says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from flows.documented import documented

if TYPE_CHECKING:
    from flows.clients import Called, Client

Shows = Literal["all", "refused files", "status"]
"""How much of a refusal a tool prints: all, all of a 400 but of others the status, the status."""

PUBLISHERS: dict[str, Shows] = {
    "twine": "all",
    "twine-3": "all",
    "uv": "all",
    "poetry": "all",
    "pdm": "status",
    "hatch": "status",
    "flit": "refused files",
}


def publish_with(
    name: str, client: Client, project: Path, *, store_url: str, index: str, token: str
) -> Called:
    """Publish what is in ``dist`` of a project; flit builds the project instead."""
    heading = f"Publish with {name.partition('-')[0]}"
    commands = documented(heading, store_url=store_url, index=index).commands
    return client.play("\n".join(commands), folder=project, variables={"TOKEN": token})


def log_named_in(called: Called) -> str:
    """The log that pdm names when it fails: it holds what pdm does not print."""
    named = called.output.partition("See ")[2].partition(" for detailed debug log")[0]
    return Path(named).read_text(encoding="utf-8")
