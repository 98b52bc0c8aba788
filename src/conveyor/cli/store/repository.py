"""``conveyor store repository | webhook``: repositories that runs are requested for; what tells of pushes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from conveyor.cli.lazy import CONTEXT_SETTINGS
from conveyor.cli.output import filling, seen_by_worker, show
from conveyor.cli.store.place import on_a_store
from conveyor.domain.runs.repositories import NewRepository, Repository
from conveyor.domain.runs.webhooks import GitHost, NewWebhook, Webhook
from conveyor.domain.words.records import as_json as as_json_value

if TYPE_CHECKING:
    from conveyor.cli.output import Filled
    from conveyor.cli.store.place import Place


@click.group("repository", context_settings=CONTEXT_SETTINGS)
def command() -> None:
    """Register, list and remove the repositories that pipeline runs may be requested for."""


@command.command("add", short_help="Allow runs of the repository URL to release PROJECT.")
@filling(NewRepository, arguments=("project",), without=("url",))
@click.argument("repository", metavar="URL")
@on_a_store
def add(asked: Filled[NewRepository], repository: str, place: Place) -> None:
    """Allow runs of the repository URL to be requested and to release PROJECT (administrators).

    URL is the repository as a worker can reach it, without credentials.
    """
    wanted = asked(url=seen_by_worker(repository))
    with place.client() as client:
        client.repositories.add(wanted)
    click.echo(f"runs of {wanted.url} may release {wanted.project}")


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Write JSON.")
@on_a_store
def list_all(as_json: bool, place: Place) -> None:
    """List the registered repositories, by project."""
    with place.client() as client:
        show(client.repositories.all(), Repository, as_text=not as_json)


@command.command("remove", short_help="Stop runs of the repository URL from releasing PROJECT.")
@click.argument("project")
@click.argument("repository", metavar="URL")
@on_a_store
def remove(project: str, repository: str, place: Place) -> None:
    """Stop runs of the repository URL from releasing PROJECT (administrators)."""
    with place.client() as client:
        client.repositories.remove(project, seen_by_worker(repository))
    click.echo(f"runs of {seen_by_worker(repository)} no longer release {project}")


@click.group("webhook", context_settings=CONTEXT_SETTINGS)
def webhook() -> None:
    """Register, list and remove webhooks, by which git hosts tell of pushes.

    GitLab, GitHub, Gitea, Forgejo and Bitbucket are known.
    """


@webhook.command("add", short_help="Let a git host tell of pushes to the repository URL.")
@click.argument("repository", metavar="URL")
@click.option(
    "--host", type=click.Choice(["github", "gitlab", "gitea", "bitbucket"]), required=True,
    help="What sends them; gitea: Forgejo as well.",
)  # fmt: skip
@click.option("--index", help="Where releases enter.  [default: the only index where they can]")
@click.option(
    "--secret-file", type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Holds the secret, if the host made it.  [default: a new one, which is printed]",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Write JSON.")
@on_a_store
def add_webhook(
    repository: str, host: GitHost, index: str | None, secret_file: Path | None, as_json: bool, place: Place
) -> None:
    """Let a git host tell of pushes to the registered repository URL, and print what to tell that host."""
    given = secret_file.read_text(encoding="utf-8").strip() if secret_file is not None else None
    with place.client() as client:
        made = client.repositories.add_webhook(NewWebhook(seen_by_worker(repository), host, index, given))
    if as_json:
        click.echo(json.dumps(as_json_value(made), indent=2))
        return
    click.echo(f"{(place.address() or 'http://HOST:PORT').rstrip('/')}{made.path}")
    if given is None:
        click.echo(f"its secret: {made.secret}")


@webhook.command("list")
@click.option("--json", "as_json", is_flag=True, help="Write JSON.")
@on_a_store
def list_webhooks(as_json: bool, place: Place) -> None:
    """List the webhooks, by repository; no secret is shown."""
    with place.client() as client:
        show(client.repositories.webhooks(), Webhook, as_text=not as_json)


@webhook.command("remove")
@click.argument("webhook_id", metavar="ID")
@on_a_store
def remove_webhook(webhook_id: str, place: Place) -> None:
    """Refuse what the webhook ID delivers from now on (administrators)."""
    with place.client() as client:
        client.repositories.remove_webhook(webhook_id)
    click.echo(f"webhook {webhook_id} is removed")
