"""Who may do what: identities, scopes and the rules that compare them.

A rule returns nothing when it allows and raises when it does not: ``Unauthorized`` (401, with a challenge)
when the caller is anonymous and might be allowed once known, ``Forbidden`` (403) when the caller is known but
not allowed. What ``admin`` implies is decided here once. Uploading into a promotion-only index and promoting
past a gate are not rights that anybody could hold, so they are not decided here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal, get_args

from conveyor.domain.words.notation import Moment
from conveyor.domain.words.records import (
    NO_COLUMN,
    Column,
    Count,
    Described,
    Given,
    Named,
    Option,
    Record,
    ShortText,
    Text,
)
from conveyor.errors import Forbidden, InvalidInput, InvalidName, NotFound, Unauthorized

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Scope = Literal["read", "upload", "claim", "promote", "run", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
WORKER_SCOPES: frozenset[Scope] = frozenset({"read", "run"})
"""Scopes of a pipeline worker: it asks for runs, gets a token for each, and changes nothing by itself."""
RUN_SCOPES: frozenset[Scope] = frozenset({"read", "upload", "run"})
"""Scopes of the token of one run, ``run`` for that run alone: people claim names, and the store promotes."""
OF_PUBLISHERS = "publisher-"
"""What the users of trusted publishers are called, with their number behind it."""
STORE = "store"
"""The actor of what the store does by itself; no user has this name."""


@dataclass(frozen=True)
class HostedJob:
    """The job of a CI host that got a token as a trusted publisher, as its ID token told of it."""

    publishers: Mapping[str, int]
    """Project → number of its publisher."""
    claims: Mapping[str, str]


@dataclass(frozen=True)
class Identity:
    """The caller and its rights. ``indexes`` and ``projects`` narrow every right; ``None`` means all."""

    name: str
    scopes: frozenset[Scope]
    indexes: frozenset[str] | None = None
    projects: frozenset[str] | None = None
    """Normalized names."""
    worker: str | None = None
    """The registered worker this identity speaks for, if any."""
    run: int | None = None
    """The run that this token was made for: it changes nothing but that run and its project."""
    job: HostedJob | None = field(default=None, compare=False)
    """The job of a CI host that this token was made for."""
    user_scopes: frozenset[Scope] | None = field(default=None, compare=False)
    """Scopes of this token's user, to say which token would help; ``None``: no more than the token's."""

    @property
    def is_anonymous(self) -> bool:
        """Whether the caller sent no credentials."""
        return self.name == ""

    @property
    def is_admin(self) -> bool:
        """Whether every right is implied; a token narrowed to indexes or projects stays narrowed."""
        return "admin" in self.scopes

    @property
    def is_whole_admin(self) -> bool:
        """Whether it may change things that are not limited to an index or project."""
        return self.is_admin and self.indexes is None and self.projects is None

    def could_have_scope(self, scope: Scope) -> bool:
        """Whether another token of the same user, or the user's password, may have the scope."""
        of_user = self.scopes if self.user_scopes is None else self.user_scopes
        return "admin" in of_user or scope in of_user

    def has_scope(self, scope: Scope) -> bool:
        """Whether the scope is held, by name or through ``admin``."""
        return self.is_admin or scope in self.scopes


ANONYMOUS = Identity(name="", scopes=frozenset({"read"}))


def can_read(identity: Identity, index: str, *, is_private: bool, project: str | None = None) -> bool:
    """Whether this caller may see a project in an index; ``None``: any part of the index.

    A public index is readable by everybody, whatever the credentials: a token narrowed to another index must
    not see less than an anonymous caller. Only ``indexes.policy.readable_indexes`` calls this; all others
    call that.
    """
    if not is_private:
        return True
    if identity.is_anonymous or not identity.has_scope("read"):
        return False
    return _covers(identity.indexes, index) and (project is None or _covers(read_projects(identity), project))


def read_projects(identity: Identity) -> frozenset[str] | None:
    """The projects that the caller may read, ``None``: all; a run installs more than it releases."""
    return identity.projects if identity.run is None else None


def unknown_caller(action: str) -> Unauthorized:
    """The error for an anonymous caller who may be allowed once known; ``action`` completes "to …"."""
    return Unauthorized(
        f"to {action}, say who you are",
        hint="send a token as password of the user __token__, or your user name and password",
    )


def reaches_index(identity: Identity, index: str) -> bool:
    """Whether the rights of this caller, whatever they are, extend to the index: a token may be narrowed."""
    return _covers(identity.indexes, index)


def must_have(identity: Identity, scope: Scope, *, index: str | None = None) -> None:
    """Allow callers who have the scope somewhere, or in this index; raises Unauthorized or Forbidden.

    The rules below check what else the scope reaches.
    """
    _may(identity, scope, index=index, project=None)


def may_upload(identity: Identity, index: str | None = None, project: str | None = None) -> None:
    """Allow uploading files or evidence; ``None`` stands for any index or project.

    Raises:
        Unauthorized: the caller is anonymous.
        Forbidden: the scope ``upload`` is missing, or does not reach this index or project.
    """
    _may(identity, "upload", index=index, project=project)


def may_testify(identity: Identity, project: str | None = None) -> None:
    """Allow handing in evidence, which counts by its signature; raises Unauthorized or Forbidden.

    A worker may hand in what it signed by the token in its credentials as well.
    """
    if identity.worker is None or identity.run is not None or not identity.has_scope("run"):
        may_upload(identity, project=project)


def job_of(identity: Identity) -> HostedJob:
    """The job that tells something unsigned; raises Unauthorized or Forbidden if the caller is none."""
    _known(identity, "tell what a job found out")
    if identity.job is None:
        raise Forbidden(
            f"{identity.name} is not the job of a trusted publisher",
            hint="a worker signs what it found out; a job of a CI host exchanges its ID token first: "
            "conveyor store publisher token --url URL",
        )
    return identity.job


def may_work_on(identity: Identity, run: int | None) -> None:
    """Allow claiming a run (``None``) or reporting on it, as far as the token goes.

    Raises:
        Unauthorized: the caller is anonymous.
        Forbidden: the scope ``run`` is missing, or the token was made for another run.
    """
    if identity.run is None:
        must_have(identity, "run")
    elif identity.run != run:
        raise Forbidden(
            f"this token was made for run {identity.run} alone",
            hint="use the token in the credentials file of the worker",
        )


def may_claim(identity: Identity, project: str | None = None) -> None:
    """Allow claiming a project's name for the store; raises Unauthorized or Forbidden."""
    _may(identity, "claim", index=None, project=project)


def may_promote(identity: Identity, index: str, project: str) -> None:
    """Allow asking for a promotion into ``index``; the gates decide afterwards. Raises as the others."""
    _may(identity, "promote", index=index, project=project)


def may_administer(identity: Identity) -> None:
    """Allow changing users, tokens, workers, signers and indexes, and reading the audit log.

    A token narrowed to indexes or projects never administers: its changes would reach beyond them.
    """
    _may(identity, "admin", index=None, project=None)
    if not identity.is_whole_admin:
        raise Forbidden(
            f"{identity.name} uses a token for some indexes or projects, which may not administer the store",
            hint="ask an administrator for one that is not narrowed: "
            f"conveyor store token create --user {identity.name}",
        )


def must_be_known(identity: Identity, action: str) -> None:
    """Allow known callers who may read; ``action`` completes "to …, say who you are"."""
    _known(identity, action)
    if not identity.has_scope("read"):
        raise _lacking(identity, "read", None)


def scopes_from(names: Iterable[str]) -> frozenset[Scope]:
    """The known scopes among ``names``; unknown words are left out (see :func:`unknown_scopes`)."""
    wanted = frozenset(names)
    return frozenset(scope for scope in SCOPES if scope in wanted)


def check_scopes(names: Iterable[str]) -> None:
    """Accept words that are all scopes; raises InvalidInput naming each that is not."""
    faults = [f'"{name}" is not a scope' for name in names if name not in SCOPES]
    if faults:
        raise InvalidInput(faults[0], faults=faults, hint=f"the scopes are {', '.join(sorted(SCOPES))}")


def narrowed(token_scopes: frozenset[Scope], user_scopes: frozenset[Scope]) -> frozenset[Scope]:
    """The current scopes of a token: never more than its user's, whose rights may have shrunk since."""
    return token_scopes if "admin" in user_scopes else token_scopes & user_scopes


def _may(identity: Identity, scope: Scope, *, index: str | None, project: str | None) -> None:
    _known(identity, _ACTIONS[scope])
    if not identity.has_scope(scope):
        raise _lacking(identity, scope, project)
    if index is not None and not _covers(identity.indexes, index):
        raise Forbidden(
            f'{identity.name} may not {scope} in index "{index}" with this token',
            hint=f"ask an administrator: {_command_for_token(identity, index=index)}",
        )
    if project is not None and not _covers(identity.projects, project):
        raise Forbidden(
            f"{identity.name} may not {scope} {project} with this token",
            hint=f"ask an administrator: {_command_for_token(identity, project=project)}",
        )


def _lacking(identity: Identity, scope: Scope, project: str | None) -> Forbidden:
    """The refusal, with the command that helps; the new token or user can do all that the old one can.

    Administrators should claim a name themselves rather than grant the right, and nobody is made an
    administrator for one request. The scopes of a user never change, so if the user lacks the scope, no
    token of that user helps.
    """
    name = identity.name
    if identity.could_have_scope(scope):
        message = f"the token of {name} lacks the scope {scope}"
        remedy = f"ask an administrator: {_command_for_token(identity, scope=scope)}"
    elif scope == "admin":
        message = f"{name} does not administer this store"
        remedy = "ask an administrator to do it"
    else:
        message = f"{name} lacks the scope {scope}, and so does any token of {name}"
        command = " ".join(["conveyor store user add NAME", *_options("scope", _scopes(identity, scope))])
        remedy = f"the scopes of a user never change; ask an administrator for another user: {command}"
    if scope == "claim":
        message = f"{project} is not claimed, and {message}" if project else message
        remedy = f"ask an administrator: conveyor store claim {project or 'NAME'}"
    return Forbidden(message, hint=remedy)


def _command_for_token(
    identity: Identity, *, scope: Scope | None = None, index: str | None = None, project: str | None = None
) -> str:
    """The command that makes a token with all rights of the present one and one more."""
    words = [f"conveyor store token create --user {identity.name}"]
    scopes = _scopes(identity, scope)
    if set(scopes) != (identity.user_scopes or set()):  # else all scopes of the user, as by default
        words += _options("scope", scopes)
    if identity.indexes is not None:
        words += _options("index", sorted(identity.indexes | ({index} if index else set())))
    if identity.projects is not None:
        words += _options("project", sorted(identity.projects | ({project} if project else set())))
    return " ".join(words)


def _scopes(identity: Identity, more: Scope | None) -> list[Scope]:
    return [scope for scope in SCOPES if scope == more or scope in identity.scopes]


def _options(option: str, values: Iterable[str]) -> list[str]:
    return [f"--{option} {value}" for value in values]


_ACTIONS: dict[Scope, str] = {
    "read": "read",
    "upload": "upload",
    "claim": "claim a name",
    "promote": "promote a release",
    "run": "start a pipeline run",
    "admin": "administer the store",
}


def _known(identity: Identity, action: str) -> None:
    if identity.is_anonymous:
        raise unknown_caller(action)


def _covers(narrowing: frozenset[str] | None, name: str) -> bool:
    return narrowing is None or name in narrowing


def check_user_name(name: str) -> None:
    """Accept the name of a user or a worker, such as ``ada`` or ``worker-1``.

    Raises:
        InvalidName: it has characters other than lower case letters, digits and ``. _ @ -``, does not begin
            and end with a letter or digit, is too long, or is that of the store itself. A colon would end
            the name in basic authentication.
    """
    if name == STORE:
        raise InvalidName(f'"{name}" is what the store calls itself in its log', hint="use another name")
    if name.startswith(OF_PUBLISHERS):
        raise InvalidName(f'"{name[:65]}" is what trusted publishers are called', hint="use another name")
    if not _USER_NAME.fullmatch(name):
        raise InvalidName(
            f'"{name[:65]}" cannot be the name of a user',
            hint="use lower case letters, digits and . _ @ -, at most 64, a letter or digit at both ends",
        )


def unknown_user(name: str, *, command: str) -> NotFound:
    """The error about a user that does not exist; ``command`` makes one, unless no user can have the name."""
    hint: str | None = f"make it first: {command}"
    try:
        check_user_name(name)
    except InvalidName as error:
        hint = error.hint
    return NotFound(f'there is no user "{name}"', hint=hint)


_USER_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._@-]{0,62}[a-z0-9])?")


# --- tokens as they cross the wire -------------------------------------------------------------------------


ScopeWord = Annotated[str, Given(), Described(words=SCOPES)]
"""The word for a scope from a caller; ``check_scopes`` checks it."""


@dataclass(frozen=True)
class NewToken(Record):
    """A token to be made for a user."""

    user: Annotated[ShortText, "Whose token it is."]
    scopes: Annotated[
        tuple[ScopeWord, ...] | None, "What it may do; by default, all that its user may.", Option("scope")
    ] = None
    indexes: Annotated[tuple[Text, ...] | None, "Only in these indexes.", Option("index")] = None
    projects: Annotated[tuple[Text, ...] | None, "Only for these projects.", Option("project")] = None
    expires_at: Annotated[
        Moment | None, "When it expires, such as 2030-12-31T00:00:00Z.", Option("expires-at", "TIME")
    ] = None
    description: Annotated[Annotated[str, Given(1000)] | None, "What it is for."] = None


@dataclass(frozen=True)
class IssuedToken(Record):
    """A token that was just made; it cannot be read again."""

    id: Count
    secret: Annotated[str, Named("token"), "The text that its user sends."] = field(repr=False)


def _state(token: Token) -> str:
    if token.revoked_at:
        return f"revoked {token.revoked_at}"
    return f"until {token.expires_at}" if token.expires_at else "valid"


def _reach(token: Token) -> str:
    """The indexes and projects it is narrowed to. An empty list allows nothing."""
    narrowings = {"index": token.indexes, "project": token.projects}
    listed = (
        f"{noun} {','.join(names) or 'none'}" for noun, names in narrowings.items() if names is not None
    )
    return "; ".join(listed) or "-"


@dataclass(frozen=True)
class Token(Record):
    """A token as people see it in a list: without its secret."""

    id: Count
    user: Annotated[str, "Whose token it is."]
    scopes: Annotated[tuple[Scope, ...], "What it may do; never more than its user may."]
    indexes: Annotated[tuple[str, ...] | None, "Only in these; null: in all.", Column("ONLY FOR", _reach)]
    projects: Annotated[tuple[str, ...] | None, "Only for these; null: for all.", NO_COLUMN]
    expires_at: Annotated[Moment | None, "null: when it is revoked.", Column("STATE", _state)]
    revoked_at: Annotated[Moment | None, NO_COLUMN]
    last_used_at: Annotated[Moment | None, Column("LAST USED", lambda token: token.last_used_at or "never")]
    created_at: Annotated[Moment, NO_COLUMN]
    description: Annotated[str, "What it is for."]
