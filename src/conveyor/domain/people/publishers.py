"""Trusted publishers: jobs of a CI host that may publish one project into one index, without a stored secret.

A CI host gives each job a signed statement about it, an OpenID Connect ID token: which repository, workflow
and environment it belongs to. A publisher says which statements are good for which project and index; the
index follows from it, as the address at which tokens are exchanged names none. What such a job uploads is
a claim of that host, and no more than that.

Sources: OpenID Connect Core 1.0, section 3.1.3.7; RFC 7515, 7517, 7518, 7519, 8725 (which algorithms, and why
the header of a token decides nothing).
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

from conveyor.domain.people.access import OF_PUBLISHERS
from conveyor.domain.words.names import ProjectName
from conveyor.domain.words.notation import Moment
from conveyor.domain.words.records import NO_COLUMN, Count, Option, Record, ShortText, Text
from conveyor.errors import Forbidden, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping

PublisherKind = Literal["github", "gitlab", "other"]
Algorithm = Literal["RS256", "ES256"]
ALGORITHMS: tuple[Algorithm, ...] = ("RS256", "ES256")
"""Those that CI hosts sign with; none of them takes a shared secret, or nothing at all, for a signature."""
LEEWAY_SECONDS = 30
"""How far the clocks of a CI host and of the store may differ."""
MAX_TOKEN_LENGTH = 16 * 1024
MAX_KEYS = 100
"""Keys of one issuer; they have two or three."""


@dataclass(frozen=True)
class NewPublisher(Record):
    """A trusted publisher to be registered."""

    project: ProjectName
    index: Annotated[ShortText, "The one index into which it publishes."]
    kind: Annotated[PublisherKind, "Whose ID tokens it sends; each kind names its claims in its own way."]
    issuer: Annotated[Text, "The URL of the CI host, as its ID tokens state it.", Option("issuer", "URL")]
    repository: Annotated[Text, "Such as GROUP/PROJECT, without the host."]
    workflow: Annotated[Text, "The file of the workflow, such as release.yml or .gitlab-ci.yml."]
    environment: Annotated[ShortText | None, "Only jobs of this environment; null: of any, or none."] = None
    repository_id: Annotated[
        ShortText | None,
        "What the host calls the repository whatever its name; null: what its first job says.",
    ] = None
    owner_id: Annotated[ShortText | None, "The same of the repository's owner."] = None


@dataclass(frozen=True)
class Publisher(Record):
    """A registered trusted publisher."""

    id: Count
    project: str
    index: str
    kind: PublisherKind
    issuer: Annotated[str, NO_COLUMN]
    repository: str
    workflow: str
    environment: str | None
    repository_id: Annotated[str | None, "What the host calls the repository; null: no job told it yet."]
    owner_id: Annotated[str | None, NO_COLUMN, "The same of the repository's owner."]
    registered_by: Annotated[str, NO_COLUMN]
    registered_at: Annotated[Moment, NO_COLUMN]

    @property
    def user(self) -> str:
        """The user whose tokens it gets."""
        return user_of(self.id)


def user_of(publisher: int) -> str:
    """The user of the publisher with that number."""
    return f"{OF_PUBLISHERS}{publisher}"


@dataclass(frozen=True)
class IdToken:
    """An ID token as it was read; nothing of it is believed before its signature is checked."""

    algorithm: Algorithm
    key_id: str
    issuer: str
    claims: Mapping[str, Any] = field(repr=False)
    signed: bytes = field(repr=False)
    signature: bytes = field(repr=False)


@dataclass(frozen=True)
class IssuerKey:
    """A public key of an issuer: of RSA the numbers ``n`` and ``e``, of P-256 the point ``x`` and ``y``."""

    algorithm: Algorithm
    numbers: tuple[int, int]


def check_publisher(asked: NewPublisher) -> None:
    """Accept a publisher; raises InvalidInput with every fault."""
    faults = []
    parts = urlsplit(asked.issuer) if asked.issuer.isprintable() else urlsplit("")
    if parts.scheme != "https" or not parts.hostname or "@" in parts.netloc or parts.query or parts.fragment:
        faults.append(f'the issuer "{asked.issuer[:100]}" is not a URL that begins with https://')
    if asked.repository.startswith("/") or "/" not in asked.repository or not _is_plain(asked.repository):
        faults.append(f'the repository "{asked.repository[:100]}" is not one such as GROUP/PROJECT')
    if not _is_plain(asked.workflow) or "@" in asked.workflow:
        faults.append(f'the workflow "{asked.workflow[:100]}" is not the name of a file')
    if faults:
        raise InvalidInput(f"the publisher cannot be registered: {faults[0]}", faults=faults)


def _is_plain(text: str) -> bool:
    return (
        text.isprintable() and not any(sign in text for sign in " //\\" if sign != "/") and "//" not in text
    )


def mismatches(publisher: Publisher, claims: Mapping[str, Any]) -> list[str]:
    """What in the claims of an ID token is not what the publisher asks for; empty if it is this publisher."""
    name, workflow = _NAMES[publisher.kind]
    faults = []
    repository = str(claims.get(name, ""))
    if repository.casefold() != publisher.repository.casefold():
        faults.append(f'{name}: wanted "{publisher.repository}", seen "{repository[:200]}"')
    given, wanted = str(claims.get(workflow, "")), _workflow(publisher)
    if not (given == wanted if publisher.kind == "other" else given.casefold().startswith(wanted.casefold())):
        faults.append(f'{workflow}: wanted "{wanted}", seen "{given[:200]}"')
    environment = claims.get("environment")
    if publisher.environment is not None and environment != publisher.environment:
        faults.append(f'environment: wanted "{publisher.environment}", seen "{str(environment or "")[:200]}"')
    for claim, pinned in zip(
        _LASTING.get(publisher.kind, ()), (publisher.repository_id, publisher.owner_id), strict=False
    ):
        seen = claims.get(claim)
        if pinned is not None and str(seen) != pinned:
            faults.append(f'{claim}: wanted "{pinned}", as at first, seen "{str(seen or "")[:200]}"')
    return faults


def lasting_ids(publisher: Publisher, claims: Mapping[str, Any]) -> dict[str, str]:
    """What the publisher does not know yet and the claims tell: ``repository_id`` and ``owner_id``.

    A name may be given up and registered by somebody else; a host never gives a number twice.
    """
    named = zip(("repository_id", "owner_id"), _LASTING.get(publisher.kind, ()), strict=False)
    return {
        field: str(claims[claim])[:200]
        for field, claim in named
        if getattr(publisher, field) is None and claims.get(claim) not in (None, "")
    }


_NAMES = {
    "github": ("repository", "workflow_ref"),
    "gitlab": ("project_path", "ci_config_ref_uri"),
    "other": ("repository", "workflow"),
}
"""Kind → the claims that name the repository, and the file of the workflow."""
_LASTING = {
    "github": ("repository_id", "repository_owner_id"),
    "gitlab": ("project_id", "namespace_id"),
    "other": ("repository_id", "repository_owner_id"),
}
"""Kind → the claims that name the repository and its owner by numbers, which outlive their names."""


def _workflow(publisher: Publisher) -> str:
    """The beginning of the claim about the workflow, up to the ref; of other hosts, the whole."""
    if publisher.kind == "github":
        return f"{publisher.repository}/.github/workflows/{publisher.workflow}@"
    if publisher.kind == "gitlab":
        return f"{urlsplit(publisher.issuer).netloc}/{publisher.repository}//{publisher.workflow}@"
    return publisher.workflow


def read_id_token(text: str) -> IdToken:
    """Take an ID token apart (a JWS in its compact form, RFC 7515); raises InvalidInput if it is not one."""
    parts = text.strip().split(".")
    if len(text) > MAX_TOKEN_LENGTH or len(parts) != 3:
        raise _unreadable("it is not three parts with dots between them")
    header, claims = _object(parts[0], "its header"), _object(parts[1], "its claims")
    algorithm = header.get("alg")
    if algorithm not in ALGORITHMS:
        raise _unreadable(f'it is signed by "{str(algorithm)[:20]}", not by {" or ".join(ALGORITHMS)}')
    if "crit" in header:  # RFC 7515, section 4.1.11
        raise _unreadable("its header makes something critical that this store does not know")
    key_id, issuer = header.get("kid"), claims.get("iss")
    if not isinstance(key_id, str) or not isinstance(issuer, str):
        raise _unreadable("it does not say which key signed it, or who issued it")
    signed = f"{parts[0]}.{parts[1]}".encode("ascii", "replace")
    return IdToken(algorithm, key_id, issuer, claims, signed, _decoded(parts[2], "its signature"))


def check_claims(token: IdToken, *, audience: str, now: float) -> None:
    """Accept the times and the audience of an ID token whose signature is genuine.

    ``now`` in seconds since 1970. Raises Forbidden with every fault: it has expired or is not valid yet,
    lasts longer than a day, or was made for somebody else.
    """
    faults = []
    given = token.claims.get("aud")
    audiences = given if isinstance(given, list) else [given]
    if audience not in audiences:
        faults.append(f'aud: wanted "{audience}", seen "{str(given)[:200]}"')
    expires, issued = _time(token, "exp"), _time(token, "iat")
    begins = token.claims.get("nbf")
    if expires is None or issued is None:
        faults.append("exp and iat: both are needed, as numbers")
    else:
        if expires <= now - LEEWAY_SECONDS:
            faults.append(f"exp: it expired {now - expires:.0f} seconds ago")
        if issued > now + LEEWAY_SECONDS:
            faults.append(f"iat: it was issued {issued - now:.0f} seconds from now")
        if expires - issued > 24 * 3600:
            faults.append("exp: it lasts longer than a day")
    if begins is not None and ((time := _time(token, "nbf")) is None or time > now + LEEWAY_SECONDS):
        faults.append("nbf: it is not valid yet")
    if faults:
        raise Forbidden(
            f"the ID token is not accepted: {'; '.join(faults)}", hint="let the job ask for a new one"
        )


_ANOTHER = "let the job ask for a new one"


def read_keys(document: bytes) -> dict[str, IssuerKey]:
    """The keys of a JWK set (RFC 7517) that sign by an allowed algorithm, by their ids; others are left out.

    Raises:
        InvalidInput: it is not a JWK set.
    """
    try:
        listed = json.loads(document)["keys"]
        found = [one for one in listed if isinstance(one, dict)][:MAX_KEYS]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise InvalidInput("the keys of the issuer are not a JWK set") from error
    keys: dict[str, IssuerKey] = {}
    for one in found:
        key_id, key = one.get("kid"), _key(one)
        if isinstance(key_id, str) and key is not None:
            keys[key_id] = key
    return keys


def _key(jwk: Mapping[str, Any]) -> IssuerKey | None:
    if jwk.get("use", "sig") != "sig":
        return None
    try:
        if jwk.get("kty") == "RSA" and jwk.get("alg", "RS256") == "RS256":
            modulus, exponent = _number(jwk["n"]), _number(jwk["e"])
            is_sound = 2048 <= modulus.bit_length() <= 8192 and 3 <= exponent < 2**32 and exponent % 2
            return IssuerKey("RS256", (modulus, exponent)) if is_sound else None
        if jwk.get("kty") == "EC" and jwk.get("crv") == "P-256" and jwk.get("alg", "ES256") == "ES256":
            return IssuerKey("ES256", (_number(jwk["x"]), _number(jwk["y"])))
    except (InvalidInput, KeyError):
        return None
    return None


def _number(text: object) -> int:
    return int.from_bytes(_decoded(str(text), "a number"), "big")


def _time(token: IdToken, name: str) -> float | None:
    value = token.claims.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _object(part: str, what: str) -> dict[str, Any]:
    try:
        value = json.loads(_decoded(part, what))
    except (ValueError, RecursionError) as error:
        raise _unreadable(f"{what} is not JSON") from error
    if not isinstance(value, dict):
        raise _unreadable(f"{what} is not an object")
    return value


def _decoded(part: str, what: str) -> bytes:
    """Base64 for URLs without padding (RFC 7515, section 2), and nothing that only looks like it."""
    plain = part.translate({ord("-"): "+", ord("_"): "/", ord("+"): "!", ord("/"): "!", ord("="): "!"})
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (ValueError, binascii.Error) as error:
        raise _unreadable(f"{what} is not base64 for URLs") from error


def _unreadable(reason: str) -> InvalidInput:
    return InvalidInput(f"this is not an ID token: {reason}", hint="send the ID token of the job as it is")
