"""A worker's credentials: its token and its private key in one file, and signing with that key.

The file is TOML with mode 0600. It is made before the worker is registered, so that no registered key is lost
because a folder cannot be written, and an existing file is never overwritten.
"""

from __future__ import annotations

import json
import os
import tomllib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from conveyor.client.connection import checked_token
from conveyor.domain.people.keys import key_id, write_public_key
from conveyor.domain.words.notation import PAYLOAD_TYPE
from conveyor.errors import Conflict, InvalidInput, MissingTool, StorageFailed

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_RESERVED_BYTES = 4096
"""More than any credentials need."""


@dataclass(frozen=True)
class WorkerCredentials:
    """A worker's identity: the token that it sends and the key that it signs with."""

    store_url: str | None
    """``None`` if the store was set up on its own machine and its URL is given elsewhere."""
    name: str
    token: str = field(repr=False)
    private_key_pem: str = field(repr=False)


@dataclass(frozen=True)
class KeyPair:
    """A new Ed25519 key, both halves as PEM."""

    private_pem: str = field(repr=False)
    public_pem: str


def make_key_pair() -> KeyPair:
    """Make a new key; raises MissingTool if the libraries for signing are not installed."""
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    except ImportError as error:
        raise _missing() from error
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return KeyPair(private.decode(), write_public_key(key.public_key().public_bytes_raw()))


def reserve_credentials(path: Path) -> None:
    """Make the blank file that ``save_credentials`` fills; the disk then has room for all of it.

    Raises:
        Conflict: there is a file already.
        StorageFailed: the file cannot be made.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError as error:
        raise Conflict(f"{path} exists already", hint="name another file, or remove this one") from error
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(b" " * _RESERVED_BYTES)
            file.flush()
            os.fsync(descriptor)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise _unwritable(path, error) from error


def save_credentials(path: Path, credentials: WorkerCredentials) -> None:
    """Write the file, readable only by its owner, whatever the umask is; raises StorageFailed."""
    values = {
        "store_url": credentials.store_url or "",
        "name": credentials.name,
        "token": credentials.token,
        "private_key_pem": credentials.private_key_pem,
    }
    # A JSON text is a TOML basic string.
    text = "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items())
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(descriptor, 0o600)
            file.write("# Secret: anyone who has this file can give evidence as this worker.\n" + text)
            file.truncate()  # at the end only: until then the room that was reserved is kept
            file.flush()
            os.fsync(descriptor)
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> StorageFailed:
    return StorageFailed(
        f"{path} cannot be written: {error.strerror}",
        hint="name a file in another folder, or check that folder, its permissions and the disk",
    )


def load_credentials(path: Path) -> WorkerCredentials:
    """Read a file that ``save_credentials`` wrote; raises InvalidInput if it does not hold credentials."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
        return WorkerCredentials(
            store_url=str(values["store_url"]) or None,
            name=str(values["name"]),
            token=checked_token(str(values["token"]), source=f"the token in {path}"),
            private_key_pem=str(values["private_key_pem"]),
        )
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError) as error:
        raise InvalidInput(
            f"{path} does not hold the credentials of a worker ({type(error).__name__}: {error})",
            hint="make them with: conveyor store worker add NAME --credentials FILE --data DIR",
        ) from error


def sign_statement(statement: bytes, credentials: WorkerCredentials) -> bytes:
    """Return a DSSE envelope around a statement, signed with the worker's key.

    Ed25519 signs without randomness, so the same statement has the same envelope: the store recognises it as
    the same evidence.

    Raises:
        InvalidInput: the credentials do not hold an Ed25519 key.
        MissingTool: the libraries for signing are not installed.
    """
    try:
        from securesystemslib.dsse import Envelope
        from securesystemslib.signer import (  # type: ignore[attr-defined] # the library's public re-exports
            CryptoSigner,
            SSlibKey,
        )
    except ImportError as error:
        raise _missing() from error
    private = _private_key(credentials)
    raw = private.public_key().public_bytes_raw()
    public = SSlibKey(key_id(raw), "ed25519", "ed25519", {"public": raw.hex()})
    envelope = Envelope(statement, PAYLOAD_TYPE, {})
    envelope.sign(CryptoSigner(private, public))
    return json.dumps(envelope.to_dict(), separators=(",", ":"), sort_keys=True).encode()


def _private_key(credentials: WorkerCredentials) -> Ed25519PrivateKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(credentials.private_key_pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InvalidInput(f"the private key of {credentials.name} cannot be read") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise InvalidInput(f"the private key of {credentials.name} is not an Ed25519 key")
    return key


def _missing() -> MissingTool:
    return MissingTool(
        "signing needs securesystemslib and cryptography",
        hint='install them: pip install "conveyor[pipeline]"',
    )
