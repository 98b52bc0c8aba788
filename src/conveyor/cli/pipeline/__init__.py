"""``conveyor pipeline``: carry a commit or a tag through packaging, testing and promotion.

``run`` does all of it now; ``trigger`` requests a run, and ``worker`` carries requested runs, whose fate
``runs`` and ``log`` tell. A CI host calls ``package`` and ``test``.
"""

from __future__ import annotations

import click

from conveyor.cli.lazy import CONTEXT_SETTINGS, LazyGroup

_JOBS, _WORKERS, _TRIGGERS, _REQUESTS = (
    f"conveyor.cli.pipeline.{name}" for name in ("jobs", "workers", "triggers", "requests")
)
COMMANDS = {
    "run": (f"{_JOBS}:run", "Carry a commit or a tag as far as its evidence allows."),
    "package": (f"{_JOBS}:package", "The packaging job alone, for a CI host."),
    "test": (f"{_JOBS}:test", "The testing job alone, for a CI host."),
    "test-dependants": (
        f"{_JOBS}:test_dependants",
        "The tests of the releases that require a release, with it.",
    ),
    "worker": (f"{_WORKERS}:worker", "Claim the requested runs and carry them."),
    "credentials": (f"{_WORKERS}:credentials", "The worker's credentials of private repositories."),
    "trigger": (f"{_TRIGGERS}:trigger", "Request a run; a worker claims it."),
    "hook": (f"{_TRIGGERS}:hook", "Have a repository request a run of what is pushed to it."),
    "poll": (f"{_TRIGGERS}:poll_repositories", "Request runs of repositories that tell nobody of pushes."),
    "runs": (f"{_REQUESTS}:runs", "List the newest runs of a store, and how each ended."),
    "log": (f"{_REQUESTS}:show_log", "Show one run: its steps, and why it failed."),
    "cancel": (f"{_REQUESTS}:cancel", "End a run that waits or is under way."),
    "retry": (f"{_REQUESTS}:retry", "Request a run that has ended once more."),
}
"""Command name → (module and object, one line of help)."""


@click.group("pipeline", cls=LazyGroup, lazy_commands=COMMANDS, context_settings=CONTEXT_SETTINGS)
def command() -> None:
    """Carry a commit or a tag through packaging, testing and promotion."""
