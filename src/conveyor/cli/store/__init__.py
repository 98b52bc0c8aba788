"""``conveyor store``: run and operate a store, one file per command, imported when it is called."""

from __future__ import annotations

import click

from conveyor.cli.lazy import CONTEXT_SETTINGS, LazyGroup

COMMANDS = {
    "serve": ("conveyor.cli.store.serve", "Initialise a store in a folder and serve it."),
    "index": ("conveyor.cli.store.index", "List the indexes, or make a new one."),
    "user": ("conveyor.cli.store.user", "Make users, change their passwords, disable them."),
    "token": ("conveyor.cli.store.token", "Make, list and revoke API tokens."),
    "signer": ("conveyor.cli.store.signer", "Register, list and revoke the keys of QA signers."),
    "worker": ("conveyor.cli.store.worker", "Register, list and revoke pipeline workers."),
    "repository": ("conveyor.cli.store.repository", "Register the repositories of pipeline runs."),
    "publisher": (
        "conveyor.cli.store.token:publisher",
        "Let jobs of CI hosts publish without a stored secret.",
    ),
    "policy": ("conveyor.cli.store.policy", "Check, compare, apply and show the rules of promotion."),
    "webhook": (
        "conveyor.cli.store.repository:webhook",
        "Let git hosts tell of pushes: GitLab, GitHub, Gitea, Forgejo, Bitbucket.",
    ),
    "notify": ("conveyor.cli.store.notify", "Tell other programs and people of changes in the store."),
    "runs": ("conveyor.cli.store.runs", "Limit how many runs are under way, and how long they are kept."),
    "claim": ("conveyor.cli.store.claim", "Make a project's name this store's own."),
    "fsck": ("conveyor.cli.store.fsck", "Check that catalogue and blobs agree; repair what can be repaired."),
    "gc": ("conveyor.cli.store.gc", "Remove blobs that no row names."),
    "backup": ("conveyor.cli.store.backup", "Write a backup, or update one, while the store serves."),
    "restore": ("conveyor.cli.store.restore", "Restore an identical store from a backup."),
    "yank": ("conveyor.cli.store.yank", "Make new installations skip a release, or undo that."),
    "rollback": ("conveyor.cli.store.yank:rollback", "Withdraw a release, and see first who depends on it."),
    "delete": ("conveyor.cli.store.delete", "Delete a file, a release or a project, for good."),
    "status": ("conveyor.cli.store.status", "Show, archive, deprecate or quarantine a project."),
    "limit": ("conveyor.cli.store.limit", "Show how large a project is, or limit it."),
    "approve": (
        "conveyor.cli.store.decisions:approve",
        "Approve a release for an index whose gate waits for people.",
    ),
    "override": ("conveyor.cli.store.decisions:override", "Have a gate let a release pass for a while."),
    "advisories": ("conveyor.cli.store.advisories", "Import advisories about vulnerable packages."),
    "docs": ("conveyor.cli.store.docs", "Hand in the documentation of a release."),
    "evidence": ("conveyor.cli.store.evidence", "Show what is known of a file, by its bytes."),
    "promote": ("conveyor.cli.store.promote", "Move a release to an index, if its gates allow it."),
}
"""Command name → (module holding ``command``, or ``module:name``; one line of help)."""


@click.group("store", cls=LazyGroup, lazy_commands=COMMANDS, context_settings=CONTEXT_SETTINGS)
def command() -> None:
    """Run and operate a store."""
