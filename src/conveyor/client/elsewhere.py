"""Stores of others, such as devpi, Nexus or Artifactory: publishing to them by the legacy upload API.

It is what twine does: one form for each file, with its core metadata, and a user and a password. Such stores
know no release that becomes visible whole, so wheels go first: who installs between the files gets a wheel.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import HTTPError
from urllib3.util import Timeout

from conveyor.client.connection import CONNECT_SECONDS, cause_of
from conveyor.client.files import make_form
from conveyor.errors import InvalidInput, StepFailed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from packaging.metadata import RawMetadata

USER, PASSWORD = "CONVEYOR_PUBLISH_USER", "CONVEYOR_PUBLISH_PASSWORD"
ANSWER_SECONDS = 300.0
LONGEST_REFUSAL = 500
_TEXTS = (
    "metadata_version", "summary", "description", "description_content_type", "author", "author_email",
    "maintainer", "maintainer_email", "license", "license_expression", "requires_python", "home_page",
)  # fmt: skip
_LISTS = ("classifiers", "requires_dist", "provides_extra", "license_files", "platforms")


@dataclass(frozen=True)
class Elsewhere:
    """A store of others, and who publishes there."""

    url: str
    """The address for uploads."""
    user: str
    password: str = field(repr=False)


def elsewhere(url: str, variables: Mapping[str, str] | None = None) -> Elsewhere:
    """The store at that address for uploads, with the credentials in the environment.

    Raises:
        InvalidInput: the address is none, holds a password, or would send one in the clear; or there are no
            credentials. Names every fault.
    """
    given = os.environ if variables is None else variables
    parts, faults = urlsplit(url), []
    if parts.scheme not in ("http", "https") or not parts.hostname or not url.isprintable():
        faults.append(f'"{url[:200]}" is not an address for uploads: it begins with https://')
    elif parts.username is not None or parts.password is not None:
        faults = [f"the address must not hold a user or a password: put them into {USER} and {PASSWORD}"]
    elif parts.scheme == "http" and not _is_loopback(parts.hostname):
        faults.append(f"http would send the password to {parts.hostname} in the clear: use https")
    if not given.get(PASSWORD):
        faults.append(f"there is no password or token in {PASSWORD}")
    if faults:
        raise InvalidInput(
            f"nothing can be published there: {faults[0]}",
            faults=faults,
            hint=f"{USER} is __token__ unless you set it; {PASSWORD} is the password or token",
        )
    return Elsewhere(url, given.get(USER) or "__token__", given[PASSWORD])


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def publish_elsewhere(store: Elsewhere, files: Sequence[tuple[Path, RawMetadata]]) -> None:
    """Upload the files of a release, each with its core metadata, wheels first.

    Raises:
        StepFailed: the store refuses one, or does not answer; says which arrived before.
    """
    arrived: list[str] = []
    headers = urllib3.util.make_headers(basic_auth=f"{store.user}:{store.password}")
    timeout = Timeout(connect=CONNECT_SECONDS, read=ANSWER_SECONDS)
    with urllib3.PoolManager(timeout=timeout, retries=False) as pool:
        for path, metadata in sorted(files, key=lambda one: not one[0].name.endswith(".whl")):
            form = make_form(path, fields=fields_of(metadata))
            try:
                answer = pool.request(
                    "POST", store.url, body=form, headers={**headers, **form.headers}, redirect=False
                )
            except HTTPError as error:
                raise _refused(store, path.name, arrived, cause_of(error)) from error
            if not 200 <= answer.status < 300:
                said = answer.data.decode(errors="replace").strip()[:LONGEST_REFUSAL]
                raise _refused(
                    store, path.name, arrived, f"{answer.status} {answer.reason or ''}".strip(), said
                )
            arrived.append(path.name)


def _refused(store: Elsewhere, name: str, arrived: list[str], why: str, log: str = "") -> StepFailed:
    there = f"{', '.join(arrived)} arrived before" if arrived else "nothing arrived before"
    return StepFailed(
        f"{store.url} did not take {name}: {why}; {there}",
        log=log,
        hint="repair what it says and package again under a new version, if files of this one are there",
    )


def fields_of(metadata: RawMetadata) -> list[tuple[str, str]]:
    """The fields of the upload form that core metadata fills, as twine fills them."""
    raw = cast("dict[str, Any]", metadata)
    found = [(name, str(raw[name])) for name in _TEXTS if raw.get(name)]
    found += [(name, str(value)) for name in _LISTS for value in raw.get(name) or ()]
    found += [("project_urls", f"{label}, {url}") for label, url in (raw.get("project_urls") or {}).items()]
    return [*found, ("keywords", ",".join(raw["keywords"]))] if raw.get("keywords") else found
