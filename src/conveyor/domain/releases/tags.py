"""Git tags: the version that a tag names, and the contents of a signed tag object.

A tag object is read strictly here: the four headers of git in their order, each once, and one signature, SSH
or OpenPGP, at the very end. git itself is more lenient (it verifies everything before the *last* line that
begins a signature), and each leniency would let two readers see two different tags in one object.

Whether the signature is genuine is decided by ``ssh-keygen`` or ``gpgv`` in ``operations.store.signatures``;
nothing in this module proves anything.

Source: git's ``gitformat-signature``.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from conveyor.domain.people import openpgp
from conveyor.domain.people.keys import BEGIN, END, GIT_NAMESPACE, parse_signature
from conveyor.domain.words.names import Version, parse_version
from conveyor.errors import InvalidInput, InvalidVersion

MAX_TAG_OBJECT_BYTES = 256 * 1024

_ANY_BEGIN = re.compile(rb"^-----BEGIN (?:SSH SIGNATURE|PGP SIGNATURE|PGP MESSAGE|SIGNED MESSAGE)-----", re.M)
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_TAGGER = re.compile(r"[^\n<>]*<[^\n<>]*> [0-9]+ [+-][0-9]{4}")
_HEADERS = ("object", "type", "tag", "tagger")


def version_of_tag(tag: str) -> Version:
    """The version that ``v1.2.1`` or ``1.2.1`` names; ``project.versions`` decides which are releases.

    Raises:
        InvalidVersion: it is not a version, or not in canonical form: ``v1.0.0-rc1`` would name the version
            that             ``v1.0.0rc1`` names, and one release would have two tags.
    """
    text = tag.removeprefix("v")
    try:
        version = parse_version(text)
    except InvalidVersion as error:
        raise InvalidVersion(f'the tag "{tag[:100]}" is not a version (PEP 440)', hint=_TAG_HINT) from error
    if str(version) != text:
        raise InvalidVersion(
            f'the tag "{tag[:100]}" is not spelled canonically: the version is {version}',
            hint=f"tag the commit as v{version}",
        )
    return version


_TAG_HINT = "name the tag after the version, such as v1.2.1"


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
    """The key that the signature claims to be from: its type and base64, or, for OpenPGP, the word
    ``openpgp`` and the fingerprint of the key or subkey."""
    object_id: str
    """The tag object's own id, with the same hash as the commit's."""

    @property
    def version(self) -> str:
        """The version that the tag names, canonical."""
        return str(version_of_tag(self.tag))


def parse_signed_tag(raw: bytes) -> SignedTag:
    """The signed tag in the bytes of ``git cat-file tag NAME``.

    Raises:
        InvalidInput: it is not a tag object, does not tag a commit, or lacks a well-formed SSH or OpenPGP
            signature for git; names every fault that can be determined.
        InvalidVersion: the tag's name is not a canonical version, with or without a ``v`` before it.
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
    public_key = _claimed_key(signature)
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


def _claimed_key(signature: bytes) -> str:
    """The key that a signature names; raises InvalidInput if it cannot be read or is not for git."""
    try:
        if signature.startswith(openpgp.BEGIN):
            return openpgp.PREFIX + openpgp.read_signature(signature).issuer
        public_key, namespace = parse_signature(signature)
    except InvalidInput as error:
        raise _refused(error.message, hint=error.hint) from error
    if namespace != GIT_NAMESPACE:
        raise _refused(f'its signature was made for "{namespace[:50]}", not for "{GIT_NAMESPACE}"')
    return public_key


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def _split(raw: bytes) -> tuple[bytes, bytes]:
    """(signed bytes, armoured signature); exactly one signature of any kind, and nothing after it."""
    begins = [match.start() for match in _ANY_BEGIN.finditer(raw)]
    if not begins:
        raise _refused("it is not signed", hint=_SIGNING_HINT)
    if len(begins) > 1:
        raise _refused("it holds more than one signature")
    payload, signature = raw[: begins[0]], raw[begins[0] :]
    lines = signature.rstrip(b"\n").split(b"\n")
    end = {BEGIN: END, openpgp.BEGIN: openpgp.END}.get(lines[0])
    if end is None:
        raise _refused("it is signed with neither SSH nor OpenPGP", hint=_SIGNING_HINT)
    if lines[-1] != end or lines.count(end) != 1:
        raise _refused("something follows its signature")
    return payload, signature


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
    """The id git gives the object: SHA-1, or SHA-256 in a repository whose commits use it."""
    content = b"tag %d\x00%b" % (len(raw), raw)
    if len(like) == 64:
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()


def _refused(problem: str, *, hint: str | None = None) -> InvalidInput:
    return InvalidInput(f"the tag object is refused: {problem}", faults=[problem], hint=hint or _OBJECT_HINT)


_SIGNING_HINT = (
    "make it anew, signed with SSH or OpenPGP: "
    "git -c gpg.format=ssh -c user.signingkey=KEY tag -f -s -m MESSAGE TAG COMMIT"
)
_OBJECT_HINT = "hand in the output of git cat-file tag NAME, unchanged"
