"""Projects and releases: which ones there are, where they are, the evidence on them; publishing one whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor.domain.indexes.definitions import IndexName
from conveyor.domain.releases.bundles import Bundle
from conveyor.domain.releases.dependants import Dependants
from conveyor.domain.releases.publications import NewPublication, Publication, PublishingCheck
from conveyor.domain.releases.standing import ProjectReleases, Release
from conveyor.domain.words.records import Text
from conveyor.operations.releases.evidence import export_bundle
from conveyor.operations.releases.standing import (
    find_dependants,
    get_project,
    get_release,
    releases_of_commit,
)
from conveyor.operations.uploads.open_releases import check_publishing, publish_release
from conveyor.server.api.endpoints import Answer, Endpoint, ListOf

if TYPE_CHECKING:
    from conveyor.server.api.endpoints import Call


def get_one_project(call: Call) -> Answer:
    """A project and its releases, newest version first."""
    return Answer(get_project(call.store, call.identity, call.path["project"]))


def get_one_release(call: Call) -> Answer:
    """A release: where it is, its files, the evidence on it."""
    return Answer(get_release(call.store, call.identity, call.path["project"], call.path["version"]))


def get_releases_of_commit(call: Call) -> Answer:
    """The releases of a project that were built from a commit."""
    commit = call.query_text("commit").lower()
    return Answer({"releases": releases_of_commit(call.store, call.identity, call.path["project"], commit)})


def get_publishing_check(call: Call) -> Answer:
    """Whether the caller may publish a version that is not here yet: if not, the error of its upload."""
    checked = check_publishing(
        call.store,
        call.identity,
        call.path["project"],
        call.path["version"],
        index=call.query_text("index"),
        upstream_has=call.upstream_has,
    )
    return Answer(checked)


def post_publication(call: Call) -> Answer:
    """Make the files of an open release visible, all of them in one change."""
    asked = call.read(NewPublication, what="the publication")
    done = publish_release(
        call.store,
        call.identity,
        call.path["project"],
        call.path["version"],
        asked,
        upstream_has=call.upstream_has,
    )
    return Answer(done, 201 if done.is_new else 200)


def get_bundle(call: Call) -> Answer:
    """Everything that proves a release: files, signed statements, tag objects and the keys they name."""
    return Answer(export_bundle(call.store, call.identity, call.path["project"], call.path["version"]))


_RELEASE = "/projects/{project}/releases/{version}"


def get_dependants(call: Call) -> Answer:
    """The newest releases in the store that require the project, and what else they could get."""
    found = find_dependants(
        call.store, call.identity, call.path["project"], call.path["version"], index=call.query.get("index")
    )
    return Answer(found)


ENDPOINTS = (
    Endpoint("GET", "/projects/{project}", get_one_project, right="read", answers={200: ProjectReleases}),
    Endpoint(
        "GET",
        "/projects/{project}/releases",
        get_releases_of_commit,
        right="read",
        query={"commit": Text},
        required_query=("commit",),
        answers={200: ListOf("releases", Release)},
    ),
    Endpoint("GET", _RELEASE, get_one_release, right="read", answers={200: Release}),
    Endpoint(
        "GET",
        f"{_RELEASE}/publication",
        get_publishing_check,
        right="upload",
        query={"index": IndexName},
        required_query=("index",),
        answers={200: PublishingCheck},
    ),
    Endpoint(
        "POST",
        f"{_RELEASE}/publication",
        post_publication,
        right="upload",
        body=NewPublication,
        answers={201: Publication, 200: Publication},
    ),
    Endpoint(
        "GET",
        f"{_RELEASE}/bundle",
        get_bundle,
        right="read",
        answers={200: Bundle},
    ),
    Endpoint(
        "GET",
        f"{_RELEASE}/dependants",
        get_dependants,
        right="read",
        query={"index": IndexName},
        answers={200: Dependants},
    ),
)
