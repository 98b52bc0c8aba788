"""Keys and signatures: SSH keys of people, Ed25519 keys of workers, and the claimed signer of a signature.

OpenPGP keys are read in ``openpgp``.

Only the form is read here. Whether an SSH signature is genuine is decided by ``ssh-keygen`` in
``operations.store.signatures``. An Ed25519 key in PEM has one form only: twelve fixed bytes, then the key.
Reading it here keeps the decision on which keys count out of the libraries that compute with them.

Sources: OpenSSH's PROTOCOL.sshsig and "ALLOWED SIGNERS" in ssh-keygen(1); RFC 8410 (Ed25519 in PEM).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass, field
from typing import Annotated, Literal

from conveyor.domain.people.openpgp import PREFIX
from conveyor.domain.words.names import ProjectName
from conveyor.domain.words.notation import Moment
from conveyor.domain.words.records import NO_COLUMN, Column, Given, Option, Record, ShortText, Text
from conveyor.errors import InvalidInput

GIT_NAMESPACE = "git"
"""Namespace in which git signs; a signature made for another purpose (``promotion``, ``file``) is invalid."""

APPROVAL_NAMESPACE = "conveyor-approval"
"""Namespace in which approvals of releases are signed with SSH."""

KEY_TYPES = frozenset(
    {
        "ssh-ed25519",
        "sk-ssh-ed25519@openssh.com",
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521",
        "sk-ecdsa-sha2-nistp256@openssh.com",
        "ssh-rsa",
    }
)
"""Plain keys. Certificates are refused: this store does not decide whom they stand for."""
MIN_RSA_BITS = 2048

BEGIN, END = b"-----BEGIN SSH SIGNATURE-----", b"-----END SSH SIGNATURE-----"
_PRINCIPAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+@-]{0,127}")


def parse_signature(armoured: bytes) -> tuple[str, str]:
    """(public key as "type base64", namespace) of an armoured SSH signature.

    Raises:
        InvalidInput: it is not of the form that PROTOCOL.sshsig describes, or its key does not count.
    """
    lines = armoured.decode("ascii", errors="replace").splitlines()
    try:
        key, namespace = _signature_fields(base64.b64decode("".join(lines[1:-1]), validate=True))
        return _key_text(key), namespace.decode(errors="replace")
    except ValueError as error:  # also for text that is not base64
        raise InvalidInput(f"the SSH signature cannot be read ({error})") from error


def parse_public_key(text: str) -> str:
    """The key in one line of a ``.pub`` file as "type base64", without its comment.

    Raises:
        InvalidInput: it is not one plain public key of a type that counts.
    """
    words = text.split()
    if "PRIVATE KEY" in text:
        raise InvalidInput("that is a private key", hint=_PUBLIC_HINT)
    if len(text.strip().splitlines()) != 1 or len(words) < 2:
        raise InvalidInput("a signer's key is one line: type, base64, comment", hint=_PUBLIC_HINT)
    try:
        blob = base64.b64decode(words[1], validate=True)
    except ValueError as error:
        raise InvalidInput("the signer's key is not base64", hint=_PUBLIC_HINT) from error
    try:
        key = _key_text(blob)
    except ValueError as error:
        raise InvalidInput("the SSH key cannot be read", hint=_PUBLIC_HINT) from error
    if key.split()[0] != words[0]:
        said = f'the signer\'s key says it is "{words[0][:50]}", but it is {key.split()[0]}'
        raise InvalidInput(said, hint=_PUBLIC_HINT)
    return key


def fingerprint(public_key: str) -> str:
    """``SHA256:…`` of a key "type base64", as ``ssh-keygen -l`` writes it; an OpenPGP key's as it stands."""
    if public_key.startswith(PREFIX):
        return public_key.removeprefix(PREFIX)
    digest = hashlib.sha256(base64.b64decode(public_key.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def check_principal(principal: str) -> None:
    """Accept a name such as ``qa@team.example``.

    In a file of allowed signers ``*``, ``?``, ``!`` and the comma make a pattern that stands for others too,
    and a space or quote begins another field; none of them may be in a name.

    Raises:
        InvalidInput: it has characters other than letters, digits and ``. _ + @ -``, or is too long.
    """
    if not _PRINCIPAL.fullmatch(principal):
        raise InvalidInput(
            f'"{principal[:128]}" cannot be the name of a signer',
            hint="use an e-mail address or another name of letters, digits and . _ + @ -",
        )


def allowed_signers_line(principal: str, public_key: str, *, namespace: str) -> str:
    """One line of a file of allowed signers: this key counts for this principal, in that namespace only."""
    return f'{principal} namespaces="{namespace}" {public_key}\n'


def _signature_fields(blob: bytes) -> tuple[bytes, bytes]:
    """(public key, namespace) of a signature in wire form; raises ValueError for any other form."""
    if not blob.startswith(b"SSHSIG") or int.from_bytes(blob[6:10], "big") != 1:
        raise ValueError("it does not begin as version 1 does")
    key, rest = _string(blob[10:])
    namespace, rest = _string(rest)
    _reserved, rest = _string(rest)
    hash_algorithm, rest = _string(rest)
    _signature, rest = _string(rest)
    if rest:
        raise ValueError("something follows it")
    if hash_algorithm not in (b"sha256", b"sha512"):
        raise ValueError("its hash is neither sha256 nor sha512")
    return key, namespace


def _key_text(blob: bytes) -> str:
    """Key type and base64 of a public key in wire form.

    Raises ValueError if it cannot be read, InvalidInput if its type does not count.
    """
    key_type, rest = _string(blob)
    name = key_type.decode("ascii", errors="replace")
    if name not in KEY_TYPES:
        raise InvalidInput(f'SSH keys of type "{name[:60]}" are not accepted here', hint=_KEY_HINT)
    if name == "ssh-rsa" and _rsa_bits(rest) < MIN_RSA_BITS:
        raise InvalidInput(f"an RSA key needs {MIN_RSA_BITS} bits or more", hint=_KEY_HINT)
    return f"{name} {base64.b64encode(blob).decode()}"


def _rsa_bits(rest: bytes) -> int:
    try:
        _exponent, rest = _string(rest)
        modulus, _ = _string(rest)
    except ValueError:
        return 0
    return int.from_bytes(modulus, "big").bit_length()


def _string(data: bytes) -> tuple[bytes, bytes]:
    """A length-prefixed string of the SSH protocol (RFC 4251, section 5) and what follows it."""
    length = int.from_bytes(data[:4], "big")
    if len(data) < 4 + length or len(data) < 4:
        raise ValueError("it ends early")
    return data[4 : 4 + length], data[4 + length :]


_KEY_HINT = "make one with ssh-keygen -t ed25519"
_PUBLIC_HINT = "hand in the file that ends in .pub, as ssh-keygen wrote it"


_BEGIN, _END = "-----BEGIN PUBLIC KEY-----", "-----END PUBLIC KEY-----"
_PREFIX = bytes.fromhex("302a300506032b6570032100")
_KEY_BYTES = 32


def read_public_key(pem: str) -> bytes:
    """The raw 32 bytes of an Ed25519 public key in PEM.

    Raises:
        InvalidInput: it is anything else.
    """
    lines = pem.split()
    text = pem.strip()
    if "PRIVATE KEY" in text:
        raise InvalidInput("that is a private key", hint="hand in the public key only")
    if not text.startswith(_BEGIN) or not text.endswith(_END) or text.count("-----BEGIN") != 1:
        raise InvalidInput("a worker's key is one Ed25519 public key in PEM", hint=_HINT)
    body = "".join(lines)[len(_BEGIN.replace(" ", "")) : -len(_END.replace(" ", ""))]
    try:
        der = base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidInput("the worker's key is not base64", hint=_HINT) from error
    if not der.startswith(_PREFIX) or len(der) != len(_PREFIX) + _KEY_BYTES:
        raise InvalidInput("the worker's key is not an Ed25519 public key", hint=_HINT)
    return der[len(_PREFIX) :]


def write_public_key(raw: bytes) -> str:
    """The PEM of a raw Ed25519 public key."""
    return f"{_BEGIN}\n{base64.b64encode(_PREFIX + raw).decode()}\n{_END}\n"


def key_id(raw: bytes) -> str:
    """SHA-256 of the raw public key, in hexadecimal: an envelope's ``keyid``."""
    return hashlib.sha256(raw).hexdigest()


_HINT = "make one and register it: conveyor store worker add NAME --credentials FILE"


# --- signers and workers as they cross the wire ------------------------------------------------------------

Role = Literal["qa"]


def _state(one: Signer | Worker) -> str:
    if one.revoked_at:
        return f"revoked {one.revoked_at}"
    until = one.valid_until if isinstance(one, Signer) else None
    return f"until {until}" if until else "valid"


def _fingerprint_of(signer: Signer) -> str:
    return fingerprint(signer.public_key)


def _reach_of(signer: Signer) -> str:
    narrowings = {"project": signer.projects, "index": signer.indexes}
    listed = (f"{noun} {','.join(names)}" for noun, names in narrowings.items() if names is not None)
    return "; ".join(listed) or "-"


@dataclass(frozen=True)
class NewSigner(Record):
    """A person's public key to be registered."""

    principal: Annotated[ShortText, "The owner of the key, such as an e-mail address."]
    public_key: Annotated[
        str,
        Given(80_000),
        "A line of a .pub file of SSH, or an OpenPGP key as gpg --armor --export writes it.",
    ]
    role: Annotated[Role, "Role of the signatures."] = "qa"
    valid_until: Annotated[
        Moment | None, "When it expires, such as 2030-12-31T00:00:00Z.", Option("valid-until", "TIME")
    ] = None
    projects: Annotated[
        tuple[ProjectName, ...] | None, "Accept signatures only for this project.", Option("project")
    ] = None
    indexes: Annotated[tuple[Text, ...] | None, "Accept signatures only for this index.", Option("index")] = (
        None
    )


@dataclass(frozen=True)
class Signer(Record):
    """A registered signer's key."""

    principal: str
    role: str
    kind: Annotated[str, "Of the key: ssh or openpgp.", NO_COLUMN]
    public_key: Annotated[
        str,
        "SSH: its type and base64, no comment. OpenPGP: the word openpgp and its fingerprint.",
        Column("KEY", _fingerprint_of),
    ]
    valid_until: Annotated[Moment | None, "null: until it is revoked.", Column("STATE", _state)]
    registered_at: Annotated[Moment, NO_COLUMN]
    revoked_at: Annotated[Moment | None, NO_COLUMN]
    certificate: Annotated[str | None, "The OpenPGP key with its subkeys, in base64.", NO_COLUMN] = None
    projects: Annotated[
        tuple[str, ...] | None, "Those that it may sign for; null: all.", Column("ONLY FOR", _reach_of)
    ] = None
    indexes: Annotated[tuple[str, ...] | None, "Those that it may sign for; null: all.", NO_COLUMN] = None


def signer_fault(signer: Signer, key: str, *, at: str) -> str | None:
    """Why a signature does not count that came at a moment; ``None`` if it does. A revoked key never counts.

    ``key`` is the fingerprint of the very key that signed, of the signer's or a subkey of it.
    """
    if signer.revoked_at is not None:
        return f"the key {key} of {signer.principal} was revoked at {signer.revoked_at}"
    if signer.valid_until is not None and signer.valid_until <= at:
        return f"the key {key} of {signer.principal} expired at {signer.valid_until}"
    return None


@dataclass(frozen=True)
class NewWorker(Record):
    """A worker to be registered."""

    name: ShortText
    public_key: Annotated[Text, "PEM, Ed25519."]


@dataclass(frozen=True)
class IssuedWorker(Record):
    """The credentials of a new worker; its token is shown only this once."""

    token: str = field(repr=False)
    key_id: str


@dataclass(frozen=True)
class Worker(Record):
    """A registered worker and its public key."""

    name: str
    key_id: Annotated[str, Column("KEY ID", lambda worker: f"{worker.key_id[:16]}…")]
    public_key: Annotated[str, "PEM, Ed25519.", NO_COLUMN]
    registered_at: Annotated[Moment, Column("STATE", _state)]
    revoked_at: Annotated[Moment | None, NO_COLUMN]
