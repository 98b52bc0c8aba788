"""Which store a command works on: a folder of this machine (``--data``) or a server (``--url`` with a token).

On a folder a command acts as the user ``admin``: anyone who can write the folder can change all of it anyway.
It works while servers serve that folder. On a server it acts as the owner of the token.

The code that raises an error does not know which of the two it was, so commands in hints are completed here.
"""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from conveyor.domain.words.notation import with_store
from conveyor.domain.words.records import as_json
from conveyor.errors import ConveyorError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conveyor.client.store import StoreClient

Result = TypeVar("Result")


@dataclass(frozen=True)
class Place:
    """Where the store is; exactly one of ``data`` and ``url`` is set."""

    data: Path | None
    url: str | None
    token: str | None

    @contextmanager
    def client(self) -> Iterator[StoreClient]:
        """A client of the store: of the server, or of the folder, opened for one command."""
        from conveyor.client.store import StoreClient, connect

        if self.url is not None:
            with connect(self.url, token=self.token) as client:
                yield client
            return
        from conveyor.domain.people.access import Identity
        from conveyor.operations.care.opening import opened_store
        from conveyor.operations.store.store import ADMIN
        from conveyor.server.api.direct import DirectConnection
        from conveyor.settings import store_settings

        assert self.data is not None  # noqa: S101 - one of the two is set
        identity = Identity(ADMIN, frozenset({"admin"}))
        with opened_store(store_settings(self.data)) as store:
            yield StoreClient(DirectConnection(store, identity, name=str(self.data)))

    def address(self) -> str | None:
        """The store's URL: for a folder the URL at which it was served last; ``None`` if it never was."""
        from conveyor.operations.store.facts import last_address

        return self.url if self.data is None else last_address(self.data)

    def completed(self, hint: str | None) -> str | None:
        """The hint; if it ends in a command on a store, the command names this store and can be copied."""
        if self.data is not None:
            return with_store(hint, "--data", str(self.data))
        return with_store(hint, "--url", self.url or "")


def given_token(option: str | None = None) -> str | None:
    """The token from ``--token``, else from ``CONVEYOR_TOKEN``; ``None`` if neither is given.

    Raises:
        InvalidInput: it is empty or cannot be a token; the error names its source, not the token.
    """
    from conveyor.client.connection import checked_token

    if option is not None:
        return checked_token(option, source="--token")
    variable = os.environ.get("CONVEYOR_TOKEN")
    return None if variable is None else checked_token(variable, source="CONVEYOR_TOKEN")


@contextmanager
def completed_hints(place: Place) -> Iterator[None]:
    """Complete the commands in the hints of errors in this block with the store."""
    try:
        yield
    except ConveyorError as error:
        error.hint = place.completed(error.hint)
        raise


def on_a_store(function: Callable[..., Result]) -> Callable[..., Result]:
    """Add the options ``--data``, ``--url`` and ``--token`` to a command, which receives them as ``place``.

    ``CONVEYOR_URL`` counts if neither of the first two is given.

    If the command has an option ``--json`` and it is given, an error is written as the one JSON document; the
    command must not have written a document before it raises.
    """

    @click.option(
        "--data",
        type=click.Path(path_type=Path, file_okay=False, exists=True),
        metavar="DIR",
        help="Work on the store in this folder, as its administrator.",
    )
    @click.option(
        "--url",
        metavar="URL",
        help="Work on the store that a server serves at this URL.  [env: CONVEYOR_URL]",
    )
    @click.option("--token", metavar="TOKEN", help="Token for --url; better in CONVEYOR_TOKEN.")
    @wraps(function)
    def wrapped(
        *arguments: object, data: Path | None, url: str | None, token: str | None, **options: object
    ) -> Result:
        if data is None and url is None:
            url = os.environ.get("CONVEYOR_URL") or None
        if (data is None) == (url is None):
            raise click.UsageError("give either --data DIR or --url URL")
        try:
            place = Place(data, url, None if url is None else given_token(token))
            with completed_hints(place):
                return function(*arguments, place=place, **options)
        except ConveyorError as error:
            if options.get("as_json"):
                from conveyor.client.problems import problem_of

                click.echo(json.dumps(as_json(problem_of(error)), indent=2))
            raise

    return wrapped
