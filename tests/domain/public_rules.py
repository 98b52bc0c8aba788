"""The rules of the public index, one row each: an input, what is said to it there, which rule says so here.

"There" is what the source of the public index does (warehouse at 6b62157 of August 2026; its dependencies
packaging 26.2 and readme-renderer 45) or what the standard says that it follows; nothing of it runs here. The
page ``docs/reference/uploads.md`` names every row in which the two differ, with the reason.
"""

from __future__ import annotations

import gzip
import tarfile
import zipfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, get_args

from conveyor.errors import Rule
from distributions_made import (
    Made,
    core_metadata,
    make_sdist,
    make_wheel,
    record_of,
    tar_file,
    tar_gz_of,
    wheel_members,
    zip_of,
)
from domain.archives_made import ZipEntry, ZipFileMade

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ACCEPTED: frozenset[Rule] = frozenset()


@dataclass(frozen=True)
class PublicRule:
    """One rule, and a file that breaks or keeps it."""

    name: str
    published: str
    """A standard, or a file of warehouse's source."""
    made: Made
    is_accepted_there: bool
    rules_here: frozenset[Rule]
    """Those that refuse it here; empty: accepted."""
    form: Mapping[str, list[str]] = field(default_factory=dict)
    """Fields of the form that are other than an honest client's."""


RULES_OF_THE_STORE: frozenset[Rule] = frozenset(
    {
        "form",  # before there is a file
        "index-unknown",
        "index-closed",
        "project-closed",
        "name-upstream",
        "name-misleads",
        "filename-taken",
        "filename-deleted",
        "version-spelling",
        "release-closed",
        "file-size",
        "project-size",
    }
)
"""Rules about what the store holds or how much it takes; no single file shows them."""
RULES_OF_A_FILE = frozenset(get_args(Rule)) - RULES_OF_THE_STORE

LEGACY = "forklift/legacy.py"
METADATA = "forklift/metadata.py"
WHEEL = "utils/wheel.py"
ZIP = "utils/zipfiles.py"


def _both(name: str, published: str, made: Made, /, *rules: Rule, **form: list[str]) -> PublicRule:
    """Refused there and here."""
    return PublicRule(name, published, made, False, frozenset(rules), form)


def _stricter(name: str, published: str, made: Made, /, *rules: Rule, **form: list[str]) -> PublicRule:
    """Accepted there, refused here."""
    return PublicRule(name, published, made, True, frozenset(rules), form)


def _looser(name: str, published: str, made: Made, /, **form: list[str]) -> PublicRule:
    """Refused there, accepted here."""
    return PublicRule(name, published, made, False, ACCEPTED, form)


def _kept(name: str, published: str, made: Made, /, **form: list[str]) -> PublicRule:
    """Accepted there and here."""
    return PublicRule(name, published, made, True, ACCEPTED, form)


def _described(*fields: tuple[str, str], version: str = "2.4", description: str = "") -> Made:
    """An sdist whose PKG-INFO has these fields as well."""
    metadata = core_metadata(metadata_version=version, fields=fields, description=description)
    return make_sdist(metadata=metadata)


def _wheel(members: Mapping[str, bytes], **replaced: bytes) -> Made:
    """A wheel of these members, some in ``.dist-info`` replaced, with a RECORD that is right."""
    path = "demo-1.0.dist-info/RECORD"
    kept = {name: content for name, content in members.items() if name != path}
    kept.update({f"demo-1.0.dist-info/{name}": content for name, content in replaced.items()})
    return Made("demo-1.0-py3-none-any.whl", zip_of({**kept, path: record_of(kept, path)}))


def _spelled(folder: str) -> Made:
    """A wheel with another spelling of its ``.dist-info`` folder."""
    found = {name.replace("demo-1.0.dist-info", folder): content for name, content in wheel_members().items()}
    path = f"{folder}/RECORD"
    del found[path]
    return Made("demo-1.0-py3-none-any.whl", zip_of({**found, path: record_of(found, path)}))


def _of_entries(entries: Sequence[ZipEntry], **arguments: bytes) -> Made:
    """A sound wheel with these members in front, which RECORD lists."""
    listed = wheel_members(extra={entry.name.decode(): entry.content for entry in entries})
    own = [ZipEntry(name.encode(), listed[name]) for name in wheel_members()]
    content = ZipFileMade([*entries, *own], **arguments).written()  # type: ignore[arg-type]  # bytes, all of them
    return Made("demo-1.0-py3-none-any.whl", content)


def _damaged() -> Made:
    """A wheel of which one data file is not what its checksum says."""
    made = make_wheel(extra={"demo/table.bin": b"sound" * 9}, compression=zipfile.ZIP_STORED)
    return Made(made.filename, made.content.replace(b"soundsound", b"wrongsound", 1))


def _old_tar() -> Made:
    """An sdist whose headers have no magic, as tar wrote them before 1988."""
    plain = bytearray(gzip.decompress(make_sdist().content))
    plain[257:265] = bytes(8)
    plain[148:156] = b" " * 8
    plain[148:156] = f"{sum(plain[:512]):06o}\0 ".encode()
    return Made("demo-1.0.tar.gz", gzip.compress(bytes(plain)))


_POINTS = "entry_points.txt"
_LINK = tar_file("demo-1.0/link", kind=tarfile.SYMTYPE, target="../../outside")
_RECORD_LESS = {"demo/unlisted.py": b""}
_MANY_TAGS = ".".join(["a"] * 35)

PUBLIC_RULES = (
    # the form
    _both("one protocol", f"{LEGACY}; PEP 694", make_wheel(), "form-protocol", protocol_version=["2"]),
    _both("digests are those of the bytes", LEGACY, make_wheel(), "form-digest", md5_digest=["0" * 32]),
    _both("a digest is given", "forklift/forms.py", make_wheel(), "form-digest", sha256_digest=[]),
    _stricter(
        "two values of one digest in the form",
        "forklift/forms.py",
        make_wheel(),
        "form-repeated",
        sha256_digest=[make_wheel().sha256, "0" * 64],
    ),
    _both("filetype is that of the filename", LEGACY, make_wheel(), "form-filename", filetype=["sdist"]),
    _both("name is that of the filename", LEGACY, make_wheel(), "form-filename", name=["other"]),
    _both("version is that of the filename", LEGACY, make_wheel(), "form-filename", version=["2.0"]),
    _looser("a wheel without a Python tag in the form", "forklift/forms.py", make_wheel(), pyversion=[]),
    _stricter(
        "another Python tag in the form",
        "forklift/forms.py",
        make_wheel(),
        "form-filename",
        pyversion=["cp39"],
    ),
    _stricter("other metadata in the form", LEGACY, make_wheel(), "form-metadata", summary=["Another"]),
    _kept("UNKNOWN is nothing", "forklift/decorators.py", make_wheel(), summary=["UNKNOWN"]),
    _both("attestations are JSON objects", "PEP 740", make_wheel(), "attestations", attestations=["{"]),
    # the filename
    _both("characters of a filename", LEGACY, Made("demo\x01-1.0.tar.gz", b""), "filename"),
    _both("kinds of files", "PEP 527; PEP 715", Made("demo-1.0-py3.11.egg", b""), "filename-extension"),
    _both("sdist filenames", "PEP 625", make_sdist(filename="Demo-1.0.tar.gz"), "filename-normalized"),
    _both(
        "wheel filenames: the name",
        "PEP 427; PEP 503",
        make_wheel(filename="Demo-1.0-py3-none-any.whl"),
        "filename-normalized",
    ),
    _kept(
        "wheel filenames: the version",
        "PEP 440",
        make_wheel(version="2015.09.15", metadata=core_metadata(version="2015.9.15")),
    ),
    _stricter(
        "more than 1,000 tags in a filename",
        LEGACY,
        make_wheel(filename=f"demo-1.0-{_MANY_TAGS}-{_MANY_TAGS}-any.whl"),
        "filename",
    ),
    _looser("any platform tag", LEGACY, make_wheel(tag="cp311-cp311-linux_x86_64")),
    _looser("local versions", METADATA, make_wheel(version="1.0+g1a2b3c4")),
    # archives
    _stricter("names that differ only in case", ZIP, make_wheel(extra={"Demo/a.py": b""}), "archive-case"),
    _stricter(
        "paths in a wheel that leave its folder",
        ZIP,
        _wheel({**wheel_members(), "../x.py": b""}),
        "archive-paths",
    ),
    _both("no file twice", ZIP, _of_entries([ZipEntry(b"demo/__init__.py")]), "archive-twice"),
    _stricter(
        "a file and a folder of one name",
        ZIP,
        _wheel({**wheel_members(), "demo/x": b"", "demo/x/y": b""}),
        "archive-twice",
    ),
    _both(
        "a wheel is no bomb",
        LEGACY,
        _wheel({**wheel_members(), "demo/zeros": bytes(70_000_000)}),
        "archive-size",
    ),
    _stricter(
        "an sdist that is a bomb", LEGACY, make_sdist(extra={"zeros": bytes(70_000_000)}), "archive-size"
    ),
    _both("a zip has no trailing data", ZIP, _of_entries([], end=b"tail"), "zip-structure"),
    _stricter("damage in a data file of a wheel", LEGACY, _damaged(), "zip-structure"),
    _both("stored or deflated", LEGACY, make_wheel(compression=zipfile.ZIP_LZMA), "zip-compression"),
    _both("no data descriptors", ZIP, _of_entries([ZipEntry(b"demo/x", flags=8)]), "zip-data-descriptor"),
    _stricter(
        "encrypted members of a wheel", ZIP, _of_entries([ZipEntry(b"demo/x", flags=1)]), "zip-encryption"
    ),
    _both(
        "no comments of members",
        ZIP,
        _of_entries([ZipEntry(b"demo/__init__.pyc", comment=b"x")]),
        "zip-comment",
    ),
    _kept("a comment of the archive", ZIP, _of_entries([], comment=b"zip-rs")),
    _stricter(
        "a comment of the archive with `PK` in it", ZIP, _of_entries([], comment=b"PK\x03\x04"), "zip-comment"
    ),
    _stricter(
        "links in a wheel",
        ZIP,
        _of_entries([ZipEntry(b"demo/x", b"y", attributes=0o120777 << 16)]),
        "zip-members",
    ),
    _both(
        "no sparse members",
        LEGACY,
        make_sdist(more=[(tar_file("demo-1.0/x", kind=b"S"), b"")]),
        "tar-members",
    ),
    _stricter(
        "devices and pipes in an sdist",
        LEGACY,
        make_sdist(more=[(tar_file("demo-1.0/x", kind=tarfile.FIFOTYPE), b"")]),
        "tar-members",
    ),
    _stricter("links that leave an sdist", "PEP 721", make_sdist(more=[(_LINK, b"")]), "tar-links"),
    _stricter(
        "a second gzip stream",
        LEGACY,
        Made("demo-1.0.tar.gz", make_sdist().content + gzip.compress(b"")),
        "tar-structure",
    ),
    _stricter("the oldest tar format", LEGACY, _old_tar(), "tar-format"),
    # wheels
    _both("one .dist-info, of the filename", "PEP 427", _spelled("demo-2.0.dist-info"), "wheel-dist-info"),
    _looser("`.dist-info` in another spelling", LEGACY, _spelled("Demo-1.0.dist-info")),
    _stricter(
        "a second `.dist-info`",
        LEGACY,
        _wheel({**wheel_members(), "other-1.0.dist-info/x": b""}),
        "wheel-dist-info",
    ),
    _both(
        "METADATA is there",
        "PEP 427",
        make_wheel(replace={"METADATA": None}),
        "wheel-dist-info",
        "record-complete",
    ),
    _stricter(
        "unknown folders in `.data`",
        LEGACY,
        _wheel({**wheel_members(), "demo-1.0.data/else/x": b""}),
        "wheel-data",
    ),
    _both("WHEEL is there", "PEP 427", make_wheel(replace={"WHEEL": None}), "wheel-file", "record-complete"),
    _stricter(
        "another version in `WHEEL`",
        LEGACY,
        _wheel(wheel_members(), WHEEL=b"Wheel-Version: 2.0\n"),
        "wheel-file",
    ),
    _kept(
        "tags in WHEEL", LEGACY, _wheel(wheel_members(), WHEEL=b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\n")
    ),
    _both("RECORD is there", "PEP 376", make_wheel(replace={"RECORD": None}), "record"),
    _stricter(
        "a path twice in `RECORD`, or a malformed line",
        WHEEL,
        make_wheel(replace={"RECORD": wheel_members()["demo-1.0.dist-info/RECORD"] * 2}),
        "record",
    ),
    _stricter(
        "files that `RECORD` does not list, or lists although they are missing",
        WHEEL,
        make_wheel(replace=_RECORD_LESS),
        "record-complete",
    ),
    _stricter(
        "wrong or missing hashes in `RECORD`",
        WHEEL,
        make_wheel(replace={"demo/__init__.py": b"wrong"}),
        "record-hash",
    ),
    _both(
        "names of scripts",
        WHEEL,
        _wheel(wheel_members(), **{_POINTS: b"[console_scripts]\n../x = a:b\n"}),
        "entry-points",
    ),
    _stricter(
        "scripts that are not `MODULE:FUNCTION`",
        WHEEL,
        _wheel(wheel_members(), **{_POINTS: b"[console_scripts]\nx = a b\n"}),
        "entry-points",
    ),
    # sdists
    _both("one top folder", LEGACY, make_sdist(more=[(tar_file("other/x"), b"")]), "sdist-folder"),
    _stricter("another name of the top folder", "PEP 625", make_sdist(top="other-1.0"), "sdist-folder"),
    _both(
        "PKG-INFO is there",
        LEGACY,
        Made("demo-1.0.tar.gz", tar_gz_of([(tar_file("demo-1.0/x"), b"")])),
        "sdist-pkg-info",
    ),
    # core metadata
    _stricter("very long fields", METADATA, _described(("Keywords", "x" * 5000)), "metadata-size"),
    _both("metadata versions", METADATA, _described(version="2.0"), "metadata-version"),
    _looser("metadata versions to come (2.6 and later)", METADATA, _described(version="2.6")),
    _stricter(
        "unknown or repeated fields in the file", METADATA, _described(("Colour", "red")), "metadata-fields"
    ),
    _stricter(
        "another name or version in the file than in its filename",
        METADATA,
        make_wheel(metadata=core_metadata(version="2.0")),
        "metadata-filename",
    ),
    _both("values of fields", "PEP 345", _described(("Requires-Python", "three")), "metadata-syntax"),
    _both(
        "fields of later versions",
        "PEP 566",
        _described(("Description-Content-Type", "text/plain"), version="1.1"),
        "metadata-syntax",
    ),
    _both(
        "kinds of descriptions",
        "PEP 566",
        _described(("Description-Content-Type", "text/html")),
        "metadata-syntax",
    ),
    _both("length of the summary", METADATA, _described(("Summary", "x" * 513)), "summary"),
    _both("requirements are valid", "PEP 508", _described(("Requires-Dist", "a>>1")), "requirements"),
    _both(
        "no requirement is a URL",
        METADATA,
        _described(("Requires-Dist", "a @ https://b.example/a.whl")),
        "requirement-urls",
    ),
    _both("a mail address is one", METADATA, _described(("Author-email", "nobody")), "addresses"),
    _looser("mail addresses without a full domain", METADATA, _described(("Author-email", "ann@localhost"))),
    _kept("of many addresses none is looked at", METADATA, _described(("Author-email", "a@b.example, c"))),
    _both("links are http or https", METADATA, _described(("Home-page", "ftp://b.example/")), "links"),
    _kept("a link need not lead anywhere", METADATA, _described(("Home-page", "https:"))),
    _both(
        "labels of links",
        METADATA,
        _described(("Project-URL", f"{'x' * 33}, https://a.example")),
        "link-labels",
    ),
    _both("classifiers are known", METADATA, _described(("Classifier", "Colour :: Red")), "classifiers"),
    _looser(
        "classifiers that begin with `Private ::`",
        METADATA,
        _described(("Classifier", "Private :: Do Not Upload")),
    ),
    _both("what may be dynamic", "PEP 643", _described(("Dynamic", "Dynamic")), "dynamic"),
    _both(
        "one kind of licence",
        "PEP 639",
        _described(("License", "MIT"), ("License-Expression", "MIT")),
        "licence-fields",
    ),
    _both("licence files are there", "PEP 639", _described(("License-File", "COPYING")), "licence-files"),
    _both(
        "the description renders",
        "utils/readme.py",
        _described(description="A\n\n.. nonsense::\n"),
        "description-rendering",
    ),
    _kept(
        "Markdown renders",
        "utils/readme.py",
        _described(("Description-Content-Type", "text/markdown"), description="A\n\n.. nonsense::\n"),
    ),
)
