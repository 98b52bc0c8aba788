"""``conveyor store``: run and operate a store, one file per command, imported when it is called."""

from __future__ import annotations

import click

from conveyor.cli.lazy import CONTEXT_SETTINGS, LazyGroup

COMMANDS = {
    "serve": ("conveyor.cli.store.serve", "Initialise a store in a folder and serve it."),
    "index": ("conveyor.cli.store.index", "List the indexes, or make a new one."),
    "user": ("conveyor.cli.store.user", "Make users."),
    "token": ("conveyor.cli.store.token", "Make, list and revoke API tokens."),
    "signer": ("conveyor.cli.store.signer", "Register, list and revoke the keys of QA signers."),
    "worker": ("conveyor.cli.store.worker", "Register, list and revoke pipeline workers."),
    "repository": ("conveyor.cli.store.repository", "Register the repositories whose runs may be asked for."),
    "claim": ("conveyor.cli.store.claim", "Make a project's name this store's own."),
    "fsck": ("conveyor.cli.store.fsck", "Prove that catalogue and blobs agree; mend what can be mended."),
    "gc": ("conveyor.cli.store.gc", "Remove blobs that no row names."),
    "backup": ("conveyor.cli.store.backup", "Write a backup or bring one up to date, while it serves."),
    "restore": ("conveyor.cli.store.restore", "Make an identical store out of a backup."),
    "yank": ("conveyor.cli.store.yank", "Have new installations pass a release over, or take that back."),
    "delete": ("conveyor.cli.store.delete", "Delete a file, a release or a project, for ever."),
    "status": ("conveyor.cli.store.status", "Show, archive, deprecate or quarantine a project."),
    "limit": ("conveyor.cli.store.limit", "Show how large a project is, or limit it."),
    "promote": ("conveyor.cli.store.promote", "Move a release to an index, if its gates let it pass."),
}
"""Command name → (module holding ``command``, one line of help)."""


@click.group("store", cls=LazyGroup, lazy_commands=COMMANDS, context_settings=CONTEXT_SETTINGS)
def command() -> None:
    """Run and operate a store."""
