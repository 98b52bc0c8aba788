"""What old and odd tools write is accepted as the public index accepts it, or refused by a rule of ours."""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING

import pytest

from conveyor.domain.distributions.filenames import distribution_filename
from conveyor.domain.distributions.reading import (
    ArchiveLimits,
    Digests,
    Distribution,
    LibraryChecks,
    UploadForm,
    read_distribution,
)
from conveyor.errors import InvalidDistribution
from conveyor.operations.store.descriptions import DescriptionRenderer
from distributions_made import Made, core_metadata, make_sdist, make_wheel, record_of, wheel_members, zip_of

if TYPE_CHECKING:
    from collections.abc import Iterator

DIGITS = "1" * 6000
TEXT = "Title\n=====\n\nHello *world*.\n\nPart\n----\n\n- a\n- b\n"


@pytest.fixture
def renderer() -> Iterator[DescriptionRenderer]:
    found = DescriptionRenderer()
    yield found
    found.close()


def read(made: Made, renderer: DescriptionRenderer | None = None, **form: str) -> Distribution:
    """Read a file with its form, some fields of which are others."""
    fields = {**made.form, **{name: [value] for name, value in form.items()}}
    return read_distribution(
        io.BytesIO(made.content),
        filename=made.filename,
        size_bytes=len(made.content),
        digests=Digests(made.sha256, made.sha256, None),
        form=UploadForm(
            {
                name: list(values)
                for name, values in fields.items()
                if "digest" not in name or name == "sha256_digest"
            }
        ),
        limits=ArchiveLimits(),
        checks=LibraryChecks(renderer.fault if renderer else lambda _: "", lambda _: ""),
    )


@pytest.mark.parametrize("indentation", [8 * " ", 7 * " " + "|"])
def test_description_folded_in_its_header_is_unfolded(
    indentation: str, renderer: DescriptionRenderer
) -> None:
    first, *rest = TEXT.splitlines()
    folded = "\n".join([first, *(indentation + line for line in rest)])
    metadata = core_metadata("demo", "1.0", fields=[("Description", folded)])
    found = read(make_sdist("demo", "1.0", metadata=metadata), renderer)
    assert found.core_metadata["description"].strip() == TEXT.strip()


def test_indented_description_in_the_body_stays_as_it_is() -> None:
    text = "An example:\n        one\n        two\n"
    found = read(make_sdist("demo", "1.0", metadata=core_metadata("demo", "1.0", description=text)))
    assert found.core_metadata["description"] == text


def test_tags_inside_a_wheel_may_differ_with_a_note() -> None:
    members = wheel_members("demo", "1.0", tag="py3-none-win32")
    found = read(Made("demo-1.0-py3-none-any.whl", zip_of(members)))
    assert found.notes == ("WHEEL names other tags than the filename: py3-none-win32",)


@pytest.mark.parametrize(
    ("line", "note"),
    [
        (b"Root-Is-Purelib: true\n", "WHEEL names no tag; installers go by the filename"),
        (
            b"Tag: py3-none-any\n",
            "WHEEL: Root-Is-Purelib is neither true nor false; installers take it for false",
        ),
    ],
)
def test_wheel_that_leaves_out_what_no_installer_needs_is_accepted_with_a_note(
    line: bytes, note: str
) -> None:
    members = wheel_members("demo", "1.0")
    members["demo-1.0.dist-info/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: x\n" + line
    record = members.pop("demo-1.0.dist-info/RECORD")
    members["demo-1.0.dist-info/RECORD"] = record_of(members, "demo-1.0.dist-info/RECORD")
    assert members["demo-1.0.dist-info/RECORD"] != record
    found = read(Made("demo-1.0-py3-none-any.whl", zip_of(members)))
    assert found.notes == (note,)


def test_record_with_backslashes_is_read() -> None:
    members = wheel_members("demo", "1.0")
    record = next(content for path, content in members.items() if path.endswith("/RECORD"))
    lines = record.replace(b"dist-info/", b"dist-info\\")
    assert lines != record
    assert read(make_wheel("demo", "1.0", replace={"RECORD": lines})).notes == ()


def test_record_with_hexadecimal_hashes_is_read() -> None:
    members = wheel_members("demo", "1.0")
    path = "demo-1.0.dist-info/RECORD"
    listed = [(name, content) for name, content in members.items() if name != path]
    lines = [
        f"{name},sha256={hashlib.sha256(content).hexdigest()},{len(content)}" for name, content in listed
    ]
    record = "\n".join([*lines, f"{path},,", ""]).encode()
    assert read(make_wheel("demo", "1.0", replace={"RECORD": record})).version == "1.0"
    wrong = record.replace(b"sha256=", b"sha256=0")
    with pytest.raises(InvalidDistribution, match="record-hash"):
        read(make_wheel("demo", "1.0", replace={"RECORD": wrong}))


@pytest.mark.parametrize(
    ("paths", "merged"),
    [
        (["demo/Table.py", "demo/table.py"], ("demo/Table.py", "demo/table.py")),
        (["Demo/a.py"], ("demo", "Demo")),
        (["demo/Sub/a.py", "demo/sub/a.py", "demo/sub/deep/b.py"], ("demo/Sub", "demo/sub")),
        (["demo/DATA", "demo/data/a.csv"], ("demo/DATA", "demo/data")),
        (["demo/straße.py", "demo/STRASSE.py"], ("demo/straße.py", "demo/STRASSE.py")),
        (["demo/É.py", "demo/e\u0301.py"], ("demo/É.py", "demo/é.py")),
    ],
)
def test_members_that_differ_only_in_case_are_refused(paths: list[str], merged: tuple[str, str]) -> None:
    with pytest.raises(InvalidDistribution) as refused:
        read(make_wheel("demo", "1.0", extra=dict.fromkeys(paths, b"")))
    first, second = merged
    assert refused.value.faults == (
        f"the archive has {first} and {second}, which are one where case is ignored [archive-case]",
    )


def test_members_of_an_sdist_may_differ_only_in_case() -> None:
    made = make_sdist("demo", "1.0", extra={"tests/Table.txt": b"", "tests/table.txt": b""})
    assert read(made).version == "1.0"


@pytest.mark.parametrize(
    "address",
    [
        "Ada <ada@example.org>, Bo <bo@example.org>,",
        "Ada <ada@example.org>, Bo",
        "ada [at] example.org",
        "ada <at> example <dot> org",
        "Ada Lovelace <ada@example.org>>",
    ],
)
def test_addresses_that_the_public_index_passes_over_are_let_pass(address: str) -> None:
    fields = [("Author-email", address)]
    made = make_sdist("demo", "1.0", metadata=core_metadata("demo", "1.0", fields=fields))
    assert read(made).core_metadata["author_email"] == fields[0][1]


def test_author_that_a_client_decoded_is_the_one_in_the_file() -> None:
    fields = [("Author-email", "=?utf-8?q?Zo=C3=AB?= <z@example.org>")]
    made = make_sdist("demo", "1.0", metadata=core_metadata("demo", "1.0", fields=fields))
    assert read(made, author_email="Zo\u00eb <z@example.org>").version == "1.0"
    with pytest.raises(InvalidDistribution, match="author_email"):
        read(made, author_email="Zo\u00e9 <z@example.org>")


def test_form_says_nothing_where_it_says_unknown() -> None:
    metadata = core_metadata("demo", "1.0", fields=[("Home-page", "UNKNOWN"), ("Summary", "A demo")])
    found = read(make_sdist("demo", "1.0", metadata=metadata), home_page="UNKNOWN", author="UNKNOWN")
    assert "home_page" not in found.core_metadata


@pytest.mark.parametrize("link", ["http:", "https://[1", "HTTPS://example.org/a b", "http:///nowhere"])
def test_link_that_only_begins_like_one_is_let_pass(link: str) -> None:
    made = make_sdist("demo", "1.0", metadata=core_metadata("demo", "1.0", fields=[("Home-page", link)]))
    assert read(made).core_metadata["home_page"] == link


def test_sdist_of_a_post_release_without_its_word_is_told_its_name() -> None:
    with pytest.raises(InvalidDistribution, match=r"must be functools32-3\.2\.3\.post2\.tar\.gz"):
        distribution_filename("functools32-3.2.3-2.tar.gz")


def test_requirement_with_a_version_of_thousands_of_digits_is_judged() -> None:
    fields = [("Requires-Dist", f"other>={DIGITS[:4000]}"), ("Requires-Dist", f"other=={DIGITS}")]
    made = make_sdist("demo", "1.0", metadata=core_metadata("demo", "1.0", fields=fields))
    with pytest.raises(InvalidDistribution, match="longer than"):
        read(made)


def test_metadata_with_a_version_of_thousands_of_digits_is_refused() -> None:
    made = make_sdist("demo", "1.0", metadata=core_metadata("demo", DIGITS))
    with pytest.raises(InvalidDistribution):
        read(made)
    with pytest.raises(InvalidDistribution):
        read(make_sdist("demo", "1.0"), version=DIGITS)
