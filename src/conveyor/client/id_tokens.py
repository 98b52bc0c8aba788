"""The ID token of the job that runs now, and its exchange for a token that publishes, for tools that cannot.

uv does this by itself. twine does it for the public index alone, so a job hands it the token that this gives.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

import urllib3
from urllib3.exceptions import HTTPError
from urllib3.util import Timeout

from conveyor.client.connection import CONNECT_SECONDS, cause_of, no_answer, store_url
from conveyor.errors import Forbidden, InvalidInput, StoreUnreachable

if TYPE_CHECKING:
    from collections.abc import Mapping

SILENCE_SECONDS = 30.0
LONGEST_REFUSAL = 2000


ANYWHERE = "CONVEYOR_ID_TOKEN"
"""Where jobs of other hosts hand over their ID token, made out to the store's audience."""
MARGIN_SECONDS = 120.0


@dataclass(frozen=True)
class JobToken:
    """The token that a job got for its ID token."""

    secret: str = field(repr=False)
    expires: float
    """Seconds since 1970."""


class JobTokens:
    """The token of the job that runs now: exchanged when it is first asked for, and again before it ends.

    GitHub gives a new ID token each time; elsewhere there is one for the whole job, and the token lasts as
    long as that. May be shared by threads.
    """

    def __init__(self, url: str, variables: Mapping[str, str] | None = None) -> None:
        self._url, self._variables = url, variables
        self._lock = threading.Lock()
        self._held: JobToken | None = None

    def __call__(self) -> str:
        """The token that holds now; raises as ``mint``."""
        with self._lock:
            if self._held is None or self._held.expires < time.time() + MARGIN_SECONDS:
                self._held = mint(self._url, self._variables, is_lasting=True)
            return self._held.secret

    def burn(self) -> None:
        """End the token, if there is one; raises StoreUnreachable, Forbidden."""
        with self._lock:
            held, self._held = self._held, None
        if held is not None:
            _asked("POST", f"{_root(self._url)}burn-token", body={"token": held.secret})


def _root(url: str) -> str:
    parts = urlsplit(store_url(url))
    return f"{parts.scheme}://{parts.netloc}/_/oidc/"


def mint(url: str, variables: Mapping[str, str] | None = None, *, is_lasting: bool = False) -> JobToken:
    """A token that publishes what the job of these variables may publish into the store at ``url``.

    ``is_lasting``: it ends with the ID token, if that is later than a quarter of an hour from now.

    Raises:
        InvalidInput: there is no such job, or it was given no ID token for this store.
        Forbidden: the store knows no publisher, or this job is none.
        StoreUnreachable: the store, or the CI host, did not answer.
    """
    told = _asked("GET", f"{_root(url)}audience")
    identity = ambient_id_token(str(told.get("audience")), os.environ if variables is None else variables)
    asked = {"token": identity, **({"until_expiry": True} if is_lasting else {})}
    given = _asked("POST", f"{_root(url)}mint-token", body=asked)
    ends = given.get("expires")
    return JobToken(
        str(given.get("token")), float(ends) if isinstance(ends, int | float) else time.time() + 900
    )


def ambient_id_token(audience: str, variables: Mapping[str, str]) -> str:
    """The ID token of the job, made out to that audience; raises as ``mint``.

    ``CONVEYOR_ID_TOKEN`` comes first. A variable that says which host this is counts only if it is exactly
    ``true``: tools that play a CI host on a laptop set it otherwise.
    """
    if variables.get(ANYWHERE):
        return variables[ANYWHERE]
    if variables.get("GITHUB_ACTIONS") == "true":
        url, bearer = (variables.get(f"ACTIONS_ID_TOKEN_REQUEST_{word}", "") for word in ("URL", "TOKEN"))
        if not url or not bearer:
            raise InvalidInput(
                "this job may not ask for an ID token", hint="give it: permissions: {id-token: write}"
            )
        separator = "&" if urlsplit(url).query else "?"
        asked = f"{url}{separator}{urlencode({'audience': audience})}"
        return str(_asked("GET", asked, headers={"Authorization": f"bearer {bearer}"}).get("value"))
    if variables.get("GITLAB_CI") == "true":
        name = variable_of(audience)
        if not variables.get(name):
            raise InvalidInput(
                f"this job has no ID token in {name}",
                hint=f"give it: id_tokens: {{{name}: {{aud: {audience}}}}}",
            )
        return variables[name]
    raise InvalidInput(
        "this is not a job of GitHub Actions or GitLab CI",
        hint=f"put the ID token of another host into {ANYWHERE}, or use a token of a user: CONVEYOR_TOKEN",
    )


def variable_of(audience: str) -> str:
    """The variable in which a job of GitLab finds its ID token for an audience, as uv looks for it too."""
    name = re.sub(r"[^A-Z0-9_]", "_", audience.upper())
    return f"{'_' + name[1:] if name[:1].isdigit() else name}_ID_TOKEN"


def _asked(
    method: str, url: str, *, body: object = None, headers: Mapping[str, str] | None = None
) -> dict[str, object]:
    content = None if body is None else json.dumps(body).encode()
    sent = {"Accept": "application/json", "User-Agent": "conveyor-client", **(headers or {})}
    try:
        with urllib3.PoolManager(timeout=Timeout(connect=CONNECT_SECONDS, read=SILENCE_SECONDS)) as pool:
            answer = pool.request(method, url, body=content, headers=sent, redirect=False, retries=False)
            text = answer.data.decode(errors="replace")
    except HTTPError as error:
        raise no_answer(f"{urlsplit(url).scheme}://{urlsplit(url).netloc}", cause_of(error)) from error
    try:
        told = json.loads(text)
    except ValueError:
        told = None
    if not 200 <= answer.status < 300:
        said = [str(one.get("description")) for one in (told or {}).get("errors", ())] if told else []
        raise Forbidden(f"no token: {'; '.join(said) or text[:LONGEST_REFUSAL].strip() or answer.status}")
    if not isinstance(told, dict):
        raise StoreUnreachable(f"{urlsplit(url).netloc} answered with something that is not a token")
    return told
