"""Signed tags: what a git tag object says, and which key its SSH signature claims to be from.

A tag object is read strictly here: the four headers of git in their order, each once, and one SSH signature
at the very end. git itself is more lenient (it verifies whatever stands before the *last* line that begins a
signature), and each leniency would let two readers see two different tags in one object.

Whether the signature is genuine is decided by ``ssh-keygen`` in ``operations.signatures``; nothing in this
room is proof of anything.

Sources: git's ``gitformat-signature``; OpenSSH's PROTOCOL.sshsig and "ALLOWED SIGNERS" in ssh-keygen(1).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass

from packaging.version import InvalidVersion as NotPep440
from packaging.version import Version

from conveyor.errors import InvalidInput, InvalidVersion

MAX_TAG_OBJECT_BYTES = 256 * 1024
GIT_NAMESPACE = "git"
"""What git signs in; a signature made for another purpose (``promotion``, ``file``) is none here."""

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
"""Plain keys. Certificates are refused: whom they stand for is decided elsewhere than in this store."""
MIN_RSA_BITS = 2048

_BEGIN, _END = b"-----BEGIN SSH SIGNATURE-----", b"-----END SSH SIGNATURE-----"
_ANY_BEGIN = re.compile(rb"^-----BEGIN (?:SSH SIGNATURE|PGP SIGNATURE|PGP MESSAGE|SIGNED MESSAGE)-----", re.M)
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_TAGGER = re.compile(r"[^\n<>]*<[^\n<>]*> [0-9]+ [+-][0-9]{4}")
_PRINCIPAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+@-]{0,127}")
_HEADERS = ("object", "type", "tag", "tagger")


@dataclass(frozen=True)
class SignedTag:
    """A tag object whose signature is well-formed but not verified."""

    commit: str
    tag: str
    tagger: str
    message: str
    """The message without the signature."""
    payload: bytes
    """The bytes that were signed."""
    signature: bytes
    """The armoured signature."""
    public_key: str
    """Key type and base64: the key that the signature says it is from."""
    object_id: str
    """The tag object's own id, of the same hash as the commit's."""

    @property
    def version(self) -> str:
        """The version that the tag names, canonical."""
        return version_of_tag(self.tag)


def parse_signed_tag(raw: bytes) -> SignedTag:
    """The signed tag in the bytes of ``git cat-file tag NAME``.

    Raises:
        InvalidInput: it is no tag object, tags no commit, or carries no well-formed SSH signature for git;
            names every fault that can be told.
        InvalidVersion: the tag's name is no canonical version, with or without a ``v`` before it.
    """
    if len(raw) > MAX_TAG_OBJECT_BYTES:
        raise InvalidInput(f"a tag object of {len(raw)} bytes is over the limit of {MAX_TAG_OBJECT_BYTES}")
    if b"\x00" in raw or not _is_utf8(raw):
        raise _refused("it is not text in UTF-8")
    payload, signature = _split(raw)
    head, separator, body = payload.partition(b"\n\n")
    if not separator:
        raise _refused("it has no empty line between its headers and its message")
    headers = _headers(head)
    public_key, namespace = parse_signature(signature)
    if namespace != GIT_NAMESPACE:
        raise _refused(f'its signature was made for "{namespace[:50]}", not for "{GIT_NAMESPACE}"')
    version_of_tag(headers["tag"])
    return SignedTag(
        commit=headers["object"],
        tag=headers["tag"],
        tagger=headers["tagger"],
        message=body.decode(),
        payload=payload,
        signature=signature,
        public_key=public_key,
        object_id=_object_id(raw, like=headers["object"]),
    )


def version_of_tag(tag: str) -> str:
    """The canonical version that ``v1.2.1`` or ``1.2.1`` names.

    Raises:
        InvalidVersion: it is no version, or not in canonical form: ``v1.0.0-rc1`` would name the version that
            ``v1.0.0rc1`` names, and one release would have two tags.
    """
    text = tag.removeprefix("v")
    try:
        canonical = str(Version(text))
    except NotPep440 as error:
        raise InvalidVersion(f'the tag "{tag[:100]}" does not name a version', hint=_TAG_HINT) from error
    if canonical != text:
        raise InvalidVersion(
            f'the tag "{tag[:100]}" names {canonical}, but not in canonical form',
            hint=f"tag the commit as v{canonical}",
        )
    return canonical


_TAG_HINT = "name the tag after the version, such as v1.2.1"


def parse_signature(armoured: bytes) -> tuple[str, str]:
    """(public key as "type base64", namespace) of an armoured SSH signature.

    Raises:
        InvalidInput: it is not of the form that PROTOCOL.sshsig describes.
    """
    lines = armoured.decode("ascii", errors="replace").splitlines()
    try:
        key, namespace = _signature_fields(base64.b64decode("".join(lines[1:-1]), validate=True))
    except (binascii.Error, ValueError) as error:
        raise _refused(f"its SSH signature can not be read ({error})") from error
    return _key_text(key), namespace.decode(errors="replace")


def parse_public_key(text: str) -> str:
    """The key in one line of a ``.pub`` file as "type base64", without its comment.

    Raises:
        InvalidInput: it is not one plain public key of a type that counts.
    """
    words = text.split()
    if "PRIVATE KEY" in text:
        raise InvalidInput("that is a private key", hint="hand in the file that ends in .pub")
    if len(text.strip().splitlines()) != 1 or len(words) < 2:
        raise InvalidInput("a signer's key is one line: type, base64, comment", hint="see the file FILE.pub")
    try:
        blob = base64.b64decode(words[1], validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidInput(
            "the signer's key is not base64", hint="hand in the file that ends in .pub"
        ) from error
    key = _key_text(blob)
    if key.split()[0] != words[0]:
        raise InvalidInput(f'the signer\'s key says it is "{words[0][:50]}", but it is {key.split()[0]}')
    return key


def fingerprint(public_key: str) -> str:
    """``SHA256:…`` of a key "type base64", as ``ssh-keygen -l`` writes it."""
    digest = hashlib.sha256(base64.b64decode(public_key.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def check_principal(principal: str) -> None:
    """Accept a name such as ``qa@team.example``.

    In a file of allowed signers ``*``, ``?``, ``!`` and the comma make a pattern that stands for others too,
    and a space or quote begins another field; none of them may be in a name.

    Raises:
        InvalidInput: it holds other characters than letters, digits and ``. _ + @ -``, or is too long.
    """
    if not _PRINCIPAL.fullmatch(principal):
        raise InvalidInput(
            f'"{principal[:128]}" can not be the name of a signer',
            hint="use an e-mail address or another name of letters, digits and . _ + @ -",
        )


def allowed_signers_line(principal: str, public_key: str) -> str:
    """One line of a file of allowed signers: this key counts for this principal, for git only."""
    return f'{principal} namespaces="{GIT_NAMESPACE}" {public_key}\n'


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def _split(raw: bytes) -> tuple[bytes, bytes]:
    """(what was signed, armoured signature); exactly one signature of any kind, and nothing after it."""
    begins = [match.start() for match in _ANY_BEGIN.finditer(raw)]
    if not begins:
        raise _refused("it is not signed", hint="sign it with SSH: git -c gpg.format=ssh tag -s")
    if len(begins) > 1:
        raise _refused("it holds more than one signature")
    payload, signature = raw[: begins[0]], raw[begins[0] :]
    lines = signature.rstrip(b"\n").split(b"\n")
    if lines[0] != _BEGIN:
        raise _refused("it is not signed with SSH", hint="sign it with SSH: git -c gpg.format=ssh tag -s")
    if lines[-1] != _END or lines.count(_END) != 1:
        raise _refused("something stands after its signature")
    return payload, signature


def _signature_fields(blob: bytes) -> tuple[bytes, bytes]:
    """(public key, namespace) of a signature in wire form; ValueError when it is of another form."""
    if not blob.startswith(b"SSHSIG") or int.from_bytes(blob[6:10], "big") != 1:
        raise ValueError("it does not begin as version 1 does")
    key, rest = _string(blob[10:])
    namespace, rest = _string(rest)
    _reserved, rest = _string(rest)
    hash_algorithm, rest = _string(rest)
    _signature, rest = _string(rest)
    if rest:
        raise ValueError("something stands after it")
    if hash_algorithm not in (b"sha256", b"sha512"):
        raise ValueError("its hash is neither sha256 nor sha512")
    return key, namespace


def _headers(head: bytes) -> dict[str, str]:
    faults: list[str] = []
    names: list[str] = []
    values: dict[str, str] = {}
    for line in head.split(b"\n"):
        name, _, value = line.decode().partition(" ")
        names.append(name)
        values[name] = value
    if tuple(names) != _HEADERS:
        raise _refused(
            f"its headers are {', '.join(names)[:200]}; a tag has {', '.join(_HEADERS)}, each once"
        )
    if not _COMMIT.fullmatch(values["object"]):
        faults.append("its header object is not the full id of a commit")
    if values["type"] != "commit":
        faults.append(f"it tags a {values['type'][:20]}, not a commit")
    if not _TAGGER.fullmatch(values["tagger"]):
        faults.append("its header tagger is not a name, an address and a time")
    if faults:
        raise InvalidInput(f"the tag object is refused: {faults[0]}", faults=faults, hint=_OBJECT_HINT)
    return values


def _object_id(raw: bytes, *, like: str) -> str:
    """The id git gives the object: SHA-1, or SHA-256 in a repository whose commits have that."""
    content = b"tag %d\x00%b" % (len(raw), raw)
    if len(like) == 64:
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()


def _key_text(blob: bytes) -> str:
    """Key type and base64 of a public key in wire form; InvalidInput when its type does not count."""
    try:
        key_type, rest = _string(blob)
    except ValueError as error:
        raise InvalidInput("the SSH key can not be read") from error
    name = key_type.decode("ascii", errors="replace")
    if name not in KEY_TYPES:
        raise InvalidInput(f'SSH keys of type "{name[:60]}" do not count here', hint=_KEY_HINT)
    if name == "ssh-rsa" and _rsa_bits(rest) < MIN_RSA_BITS:
        raise InvalidInput(f"an RSA key needs {MIN_RSA_BITS} bits at least", hint=_KEY_HINT)
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


def _refused(problem: str, *, hint: str | None = None) -> InvalidInput:
    return InvalidInput(f"the tag object is refused: {problem}", faults=[problem], hint=hint or _OBJECT_HINT)


_OBJECT_HINT = "hand in the output of git cat-file tag NAME, unchanged"
_KEY_HINT = "make one with ssh-keygen -t ed25519"
