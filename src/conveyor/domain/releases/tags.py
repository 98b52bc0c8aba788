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
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from conveyor.domain.people import openpgp
from conveyor.domain.people.keys import BEGIN, END, GIT_NAMESPACE, parse_signature
from conveyor.domain.words.names import Version, version_or_none
from conveyor.domain.words.notation import COMMIT_ID
from conveyor.errors import InvalidInput, InvalidVersion

if TYPE_CHECKING:
    from collections.abc import Collection

MAX_TAG_OBJECT_BYTES = 256 * 1024

_ANY_BEGIN = re.compile(rb"^-----BEGIN (?:SSH SIGNATURE|PGP SIGNATURE|PGP MESSAGE|SIGNED MESSAGE)-----", re.M)
_TAGGER = re.compile(r"[^\n<>]*<[^\n<>]*> [0-9]+ [+-][0-9]{4}")
_HEADERS = ("object", "type", "tag", "tagger")


@dataclass(frozen=True)
class TagName:
    """The parts of a tag's name: what comes before the version, such as ``demo/v``, and the version."""

    stem: str
    version: Version

    @property
    def prefix(self) -> str:
        """The stem without a ``v`` at its end: empty for ``v1.2.1`` and ``1.2.1``, ``demo/`` for another."""
        return self.stem.removesuffix("v")


_VERSION_AT_END = re.compile(r"(?<![0-9A-Za-z.])v?(?=[0-9])")


def read_tag_name(tag: str) -> TagName:
    """The parts of a tag's name; ``project.versions`` decides which tags are releases of a project.

    The version is the longest end of the name that is one: ``demo-2-v1.2.0-rc1`` has the stem ``demo-2-v``
    and the version 1.2.0rc1.

    Raises:
        InvalidVersion: no end of the name is a version of two numbers or more; one number alone is a moving
            tag (``v1``) or counts something else (``churn-7``).
    """
    for match in _VERSION_AT_END.finditer(tag[:_LONGEST_TAG]):
        version = version_or_none(tag[match.end() :])
        if version is not None and len(version.release) > 1 and not any(map(str.isspace, tag)):
            return TagName(tag[: match.end()], version)
    raise InvalidVersion(f'the tag "{tag[:100]}" names no version (PEP 440)', hint=_TAG_HINT)


def tag_for(version: Version, *, like: str) -> str:
    """The tag of a version, spelled as another tag of the project is; the version itself is canonical.

    Raises:
        InvalidVersion: that one names no version.
    """
    return f"{read_tag_name(like).stem}{version}"


def could_be_release(tag: str) -> bool:
    """Whether a tag's name ends in a version that some project may release under it."""
    try:
        version = read_tag_name(tag).version
    except InvalidVersion:
        return False
    is_short = len(version.release) <= _MOST_NUMBERS and not version.epoch
    return is_short and version.dev is None and version.local is None


def ref_of_run(ref: str, old: str | None, new: str | None) -> tuple[str | None, str]:
    """Which ref a run is for after a push: the tag, or the commit of a branch; else ``None`` and the reason.

    Args:
        ref: the full name of the ref that was pushed.
        old: the object that it named before; ``None`` if it is new.
        new: the object that it names now; ``None`` if it was deleted.
    """
    kind, _, name = ref.removeprefix("refs/").partition("/")
    if new is None:
        return None, "deleted"
    if kind == "heads":
        return new, ""
    if kind != "tags":
        return None, "neither a branch nor a tag"
    if not could_be_release(name):
        return None, "not a release tag"
    if old is not None and old != new:
        return None, "the tag was moved, and a release tag always names the same commit: make a new one"
    return ref, ""


def tag_counts(tag: str, version: str, *, project: str, built_tags: Collection[str | None]) -> bool:
    """Whether a signed tag is a word about a release.

    It is if it is the very tag from which the release was built, or has the project's name before the
    version. A plain tag (``v1.2.1``) also counts by its version alone, unless the release was built from a
    tag with a prefix: there a plain tag may mean another project of the repository. ``other-v1.2.1`` never
    counts for a project that was not built from it.

    Args:
        tag: the name of the signed tag.
        version: the release's version, canonical.
        project: its project, normalized.
        built_tags: the tags that the build evidence of the release's files names.
    """
    try:
        name = read_tag_name(tag)
    except InvalidVersion:
        return False
    if str(name.version) != version:
        return False
    return (
        tag in built_tags
        or project in projects_named(tag, "")
        or (not name.prefix and not any(_has_prefix(one) for one in built_tags if one))
    )


def projects_named(tag: str, message: str) -> frozenset[str]:
    """The normalized names of all projects that a signed tag could be said to name.

    These are the words of its message, and the last part of what its name has before the version: ``demo`` of
    ``libs/demo/v1.2.0`` and of ``demo-v1.2.0``. Whoever asks knows which of them are projects.
    """
    words = [*_WORD.findall(message[:_LONGEST_MESSAGE])]
    with suppress(InvalidVersion):
        words.append(read_tag_name(tag).prefix.rstrip("/-_.@").rpartition("/")[2])
    return frozenset(canonicalize_name(word) for word in words if word)


def _has_prefix(tag: str) -> bool:
    try:
        return bool(read_tag_name(tag).prefix)
    except InvalidVersion:
        return True


_WORD = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_LONGEST_MESSAGE = 20_000
_LONGEST_TAG = 300
_MOST_NUMBERS = 4
_TAG_HINT = "name the tag after the version, such as v1.2.1 or demo/v1.2.1"


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

    namespace = GIT_NAMESPACE

    @property
    def subject(self) -> str:
        """What was signed, for messages."""
        return self.tag

    @property
    def version(self) -> str:
        """The version that the tag names, canonical."""
        return str(read_tag_name(self.tag).version)


def is_signed(raw: bytes) -> bool:
    """Whether a tag object holds something that looks like a signature, of whatever kind."""
    return _ANY_BEGIN.search(raw) is not None


def parse_signed_tag(raw: bytes) -> SignedTag:
    """The signed tag in the bytes of ``git cat-file tag NAME``.

    Raises:
        InvalidInput: it is not a tag object, does not tag a commit, or lacks a well-formed SSH or OpenPGP
            signature for git; names every fault that can be determined.
        InvalidVersion: the tag's name does not end in a version.
    """
    if len(raw) > MAX_TAG_OBJECT_BYTES:
        raise InvalidInput(f"a tag object of {len(raw)} bytes is over the limit of {MAX_TAG_OBJECT_BYTES}")
    payload, signature, public_key = split_signed(raw, what=_TAG, namespace=GIT_NAMESPACE, hint=_OBJECT_HINT)
    head, separator, body = payload.partition(b"\n\n")
    if not separator:
        raise _refused("it has no empty line between its headers and its message")
    headers = _headers(head)
    read_tag_name(headers["tag"])
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


def split_signed(raw: bytes, *, what: str, namespace: str, hint: str) -> tuple[bytes, bytes, str]:
    """(signed bytes, armoured signature, the key that it names) of a text that ends in its one signature.

    Args:
        raw: the text.
        what: its name in messages.
        namespace: the one in which an SSH signature counts.
        hint: where no better one is known.

    Raises:
        InvalidInput: it is not such a text, its signature cannot be read or was made for another purpose.
    """
    if b"\x00" in raw or not _is_utf8(raw):
        raise _refused("it is not text in UTF-8", what=what, hint=hint)
    payload, signature = _split(raw, what=what, hint=hint)
    try:
        if signature.startswith(openpgp.BEGIN):
            return payload, signature, openpgp.PREFIX + openpgp.read_signature(signature).issuer
        public_key, made_for = parse_signature(signature)
    except InvalidInput as error:
        raise _refused(error.message, what=what, hint=error.hint or hint) from error
    if made_for != namespace:
        problem = f'its signature was made for "{made_for[:50]}", not for "{namespace}"'
        raise _refused(problem, what=what, hint=hint)
    return payload, signature, public_key


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def _split(raw: bytes, *, what: str, hint: str) -> tuple[bytes, bytes]:
    """(signed bytes, armoured signature); exactly one signature of any kind, and nothing after it."""
    begins = [match.start() for match in _ANY_BEGIN.finditer(raw)]
    if not begins:
        raise _refused("it is not signed", what=what, hint=_SIGNING_HINT if what == _TAG else hint)
    if len(begins) > 1:
        raise _refused("it holds more than one signature", what=what, hint=hint)
    payload, signature = raw[: begins[0]], raw[begins[0] :]
    lines = signature.rstrip(b"\n").split(b"\n")
    end = {BEGIN: END, openpgp.BEGIN: openpgp.END}.get(lines[0])
    if end is None:
        raise _refused(
            "it is signed with neither SSH nor OpenPGP",
            what=what,
            hint=_SIGNING_HINT if what == _TAG else hint,
        )
    if lines[-1] != end or lines.count(end) != 1:
        raise _refused("something follows its signature", what=what, hint=hint)
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
    if not COMMIT_ID.fullmatch(values["object"]):
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


_TAG = "the tag object"


def _refused(problem: str, *, what: str = _TAG, hint: str | None = None) -> InvalidInput:
    return InvalidInput(f"{what} is refused: {problem}", faults=[problem], hint=hint or _OBJECT_HINT)


_SIGNING_HINT = (
    "make it anew, signed with SSH or OpenPGP: "
    "git -c gpg.format=ssh -c user.signingkey=KEY tag -f -s -m MESSAGE TAG COMMIT"
)
_OBJECT_HINT = "hand in the output of git cat-file tag NAME, unchanged"
