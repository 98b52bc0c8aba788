"""The ID token of the job that runs now, and its exchange for a token that publishes, for tools that cannot.

uv does this by itself. twine does it for the public index alone, so a job hands it the token that this gives.
"""

from __future__ import annotations

import json
import os
import re
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


def mint(url: str, variables: Mapping[str, str] | None = None) -> str:
    """A token that publishes what the job of these variables may publish into the store at ``url``.

    Raises:
        InvalidInput: there is no such job, or it was given no ID token for this store.
        Forbidden: the store knows no publisher, or this job is none.
        StoreUnreachable: the store, or the CI host, did not answer.
    """
    parts = urlsplit(store_url(url))
    root = f"{parts.scheme}://{parts.netloc}/_/oidc/"
    told = _asked("GET", f"{root}audience")
    identity = ambient_id_token(str(told.get("audience")), os.environ if variables is None else variables)
    return str(_asked("POST", f"{root}mint-token", body={"token": identity}).get("token"))


def ambient_id_token(audience: str, variables: Mapping[str, str]) -> str:
    """The ID token of the job, made out to that audience; raises as ``mint``.

    A variable counts only if it is exactly ``true``: tools that play a CI host on a laptop set it otherwise.
    """
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
        "this is not a job of GitHub Actions or GitLab CI", hint="use a token of a user: CONVEYOR_TOKEN"
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
