"""Projects and releases: which ones there are, where they are, and the evidence on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor.domain.releases.standing import ProjectReleases, Release
from conveyor.domain.words.records import Text
from conveyor.operations.releases.standing import get_project, get_release, releases_of_commit
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
    Endpoint(
        "GET",
        "/projects/{project}/releases/{version}",
        get_one_release,
        right="read",
        answers={200: Release},
    ),
)
