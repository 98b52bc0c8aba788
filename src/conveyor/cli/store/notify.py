"""``conveyor store notify``: who is told of changes in the store, and what became of the messages."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from conveyor.cli.lazy import CONTEXT_SETTINGS
from conveyor.cli.output import filling, show
from conveyor.cli.store.place import on_a_store
from conveyor.domain.notices.receivers import Delivery, NewReceiver, Receiver
from conveyor.domain.words.records import as_json as as_json_value

if TYPE_CHECKING:
    from conveyor.cli.output import Filled
    from conveyor.cli.store.place import Place


@click.group("notify", context_settings=CONTEXT_SETTINGS)
def command() -> None:
    """Tell other programs and people of changes in the store: uploads, promotions, refusals, runs.

    A program is posted signed messages (Standard Webhooks); people are sent mail.
    """


@command.command("add", short_help="Tell the receiver URL of changes.")
@filling(NewReceiver, without=("url",))
@click.argument("receiver", metavar="URL")
@click.option("--json", "as_json", is_flag=True, help="Write JSON.")
@on_a_store
def add(asked: Filled[NewReceiver], receiver: str, as_json: bool, place: Place) -> None:
    """Tell the receiver URL of changes from now on, and print its id and the secret that signs its messages.

    URL is https://HOST/PATH of a program, or mailto:ADDRESS. The secret is shown this once.
    """
    with place.client() as client:
        made = client.receivers.add(asked(url=receiver))
    if as_json:
        click.echo(json.dumps(as_json_value(made), indent=2))
        return
    click.echo(made.receiver.id)
    if made.secret is not None:
        click.echo(f"its secret: {made.secret}")


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Write JSON.")
@on_a_store
def list_all(as_json: bool, place: Place) -> None:
    """List the receivers, by URL; no secret is shown."""
    with place.client() as client:
        show(client.receivers.all(), Receiver, as_text=not as_json)


@command.command("remove", short_help="Tell the receiver ID nothing any more.")
@click.argument("receiver_id", metavar="ID")
@on_a_store
def remove(receiver_id: str, place: Place) -> None:
    """Tell the receiver ID nothing any more, not even what waits for it."""
    with place.client() as client:
        client.receivers.remove(receiver_id)
    click.echo(f"receiver {receiver_id} is removed")


@command.command("test", short_help="Send the receiver ID a message that tells of nothing.")
@click.argument("receiver_id", metavar="ID")
@on_a_store
def test(receiver_id: str, place: Place) -> None:
    """Send the receiver ID a message that tells of nothing, and print the id of that message.

    A server of this store sends it; "conveyor store notify deliveries" shows what became of it.
    """
    with place.client() as client:
        click.echo(client.receivers.ping(receiver_id).id)


@command.command("deliveries", short_help="List the newest messages, and what became of them.")
@click.option("--receiver", metavar="ID", help="Only those to this receiver.")
@click.option(
    "--state", type=click.Choice(["waiting", "delivered", "failed"]), help="Only those in this state."
)
@click.option("--limit", type=click.IntRange(1, 200), default=50, show_default=True, help="How many.")
@click.option("--json", "as_json", is_flag=True, help="Write JSON.")
@on_a_store
def deliveries(receiver: str | None, state: str | None, limit: int, as_json: bool, place: Place) -> None:
    """List the newest messages, newest first: state, attempts, next attempt, and what the last one met with.

    Those that were delivered or given up are kept for 30 days.
    """
    with place.client() as client:
        found = client.receivers.deliveries(receiver_id=receiver, state=state, limit=limit)
    show(found, Delivery, as_text=not as_json)


@command.command("redeliver", short_help="Send the message ID once more.")
@click.argument("delivery_id", metavar="ID")
@on_a_store
def redeliver(delivery_id: str, place: Place) -> None:
    """Send the message ID once more, unchanged and under the same id, and try for another day."""
    with place.client() as client:
        client.receivers.redeliver(delivery_id)
    click.echo(f"message {delivery_id} is sent again")
