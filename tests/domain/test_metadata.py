from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.metadata import InvalidMetadata, Metadata

from conveyor.domain.distributions.metadata import (
    NEWEST_METADATA_VERSION,
    CoreMetadata,
    is_static,
    read_metadata,
)
from conveyor.domain.words.faults import Faults
from distributions_made import core_metadata


def read(content: bytes) -> tuple[CoreMetadata | None, str]:
    faults = Faults()
    found = read_metadata(content, what="METADATA", faults=faults)
    return found, "; ".join(faults.sentences)


def test_fields_are_kept_as_the_file_has_them() -> None:
    content = core_metadata(
        "Demo.Pkg",
        "1.0-RC1",
        requires_python=">=3.9, <4",
        requires=["Six[a]>=1; python_version<'4'"],
        fields=[
            ("Author-email", "Team Ä <team@example.com>"),
            ("Project-URL", "Home, https://example.com/x"),
            ("License-File", "LICENSE"),
            ("Keywords", "a,b"),
        ],
        description="# Title\n",
    )
    found, faults = read(content)
    assert faults == ""
    assert found is not None
    assert (found.name, str(found.version), found.requires_python) == ("Demo.Pkg", "1.0rc1", ">=3.9, <4")
    assert found.fields["requires_dist"] == ["Six[a]>=1; python_version<'4'"]
    assert found.fields["project_urls"] == {"Home": "https://example.com/x"}
    assert found.fields["license_files"] == ["LICENSE"]
    assert found.fields["description"] == "# Title\n"
    assert json.loads(json.dumps(found.fields)) == found.fields


def test_newest_known_version_is_the_one_that_packaging_knows() -> None:
    """When this fails packaging has learnt a version: raise the constant and look at its new fields."""
    raw = {"metadata_version": NEWEST_METADATA_VERSION, "name": "demo", "version": "1"}
    Metadata.from_raw(raw)  # type: ignore[arg-type]  # a typed dict
    major, minor = NEWEST_METADATA_VERSION.split(".")
    raw["metadata_version"] = f"{major}.{int(minor) + 1}"
    with pytest.raises(ExceptionGroup) as caught:
        Metadata.from_raw(raw)  # type: ignore[arg-type]  # a typed dict
    assert caught.group_contains(InvalidMetadata)


def test_newer_minor_version_is_read_as_the_newest_known_one() -> None:
    found, faults = read(
        core_metadata(metadata_version="2.99", fields=[("Colour", "red"), ("Colour", "blue")])
    )
    assert faults == ""
    assert found is not None
    assert found.metadata_version == "2.99"
    assert found.fields["unknown_fields"] == {"colour": ["red", "blue"]}


def test_newer_minor_version_excuses_no_fault_of_a_known_field() -> None:
    assert "requires-python" in read(core_metadata(metadata_version="2.99", requires_python="three"))[1]


@pytest.mark.parametrize("version", ["3.0", "2", "two", "2.0", "", "1.9"])
def test_other_unknown_versions_are_refused(version: str) -> None:
    faults = read(core_metadata(metadata_version=version))[1]
    assert "metadata version" in faults or "metadata-version is missing" in faults


def test_licence_file_before_2_4_is_let_pass_and_dropped() -> None:
    found, faults = read(core_metadata(metadata_version="2.1", fields=[("License-File", "LICENSE")]))
    assert faults == ""
    assert found is not None
    assert "license_files" not in found.fields


def test_placeholders_of_old_tools_are_nothing() -> None:
    names = ("Home-page", "Author-email", "Description-Content-Type", "Platform", "Requires-Python")
    found, faults = read(core_metadata(fields=[(name, "UNKNOWN") for name in names]))
    assert faults == ""
    assert found is not None
    assert found.fields.keys() == {"metadata_version", "name", "version"}


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (core_metadata(requires_python="three"), "'three' is invalid for 'requires-python'"),
        (core_metadata(requires=["a>>1"]), "'a>>1' is invalid for 'requires-dist'"),
        (core_metadata(requires=["a @ https://example.com/a.whl"]), "depends on a URL"),
        (core_metadata(requires=["a; " + "(" * 3000]), "invalid for 'requires-dist'"),
        (core_metadata(name="-x"), "'-x' is invalid for 'name'"),
        (core_metadata(version="one"), "'one' is invalid for 'version'"),
        (core_metadata(fields=[("Name", "other")]), "name is there 2 times"),
        (core_metadata(fields=[("Colour", "red")]), "colour is not a field of core metadata 2.4"),
        (core_metadata(fields=[("Summary", "x" * 600)]), "summary is longer than 512"),
        (core_metadata(fields=[("Summary", "x" * 5000)]), "summary is longer than 4096"),
        (core_metadata(fields=[("Author-email", "nobody")]), "not a mail address"),
        (core_metadata(fields=[("Maintainer-email", "Bo <bo at example>")]), "not a mail address"),
        (core_metadata(fields=[("Project-URL", "Home, javascript:alert(1)")]), "not an http or https URL"),
        (core_metadata(fields=[("Project-URL", "Home")]), "not an http or https URL"),
        (core_metadata(fields=[("Project-URL", f"{'x' * 33}, https://a.example")]), "must have 1 to 32"),
        (core_metadata(fields=[("Project-URL", "H, https://a")] * 2), "project-url is there 2 times"),
        (core_metadata(fields=[("Home-page", "example")]), "'home-page': not an http"),
        (core_metadata(fields=[("Download-URL", "ftp://example.com/")]), "'download-url': not an http"),
        (core_metadata(fields=[("License-File", "../x")]), "license-file"),
        (core_metadata(fields=[("License-Expression", "No Such")]), "license-expression"),
        (core_metadata(fields=[("Dynamic", "name")]), "'name' is not allowed as a dynamic field"),
        (core_metadata(fields=[("Dynamic", "Dynamic")]), "'dynamic' is not a valid dynamic field"),
        (core_metadata(fields=[("Dynamic", "colour")]), "'colour' is not a valid dynamic field"),
        (core_metadata(fields=[("Provides-Dist", "a @ https://a.example/a.whl")]), "depends on a URL"),
        (core_metadata(fields=[("Obsoletes-Dist", "a>>1")]), "'a>>1' is invalid for 'obsoletes-dist'"),
        (
            core_metadata(fields=[("License", "MIT"), ("License-Expression", "MIT")]),
            "both 'license' and 'license-expression': keep the second only",
        ),
        (core_metadata(metadata_version="2.5", fields=[("Import-Name", "a-b")]), "'a-b' is invalid for"),
        (
            core_metadata(fields=[("Description-Content-Type", "text/markdown; variant=Mine")]),
            "valid Markdown variants",
        ),
        (
            core_metadata(fields=[("Description-Content-Type", "text/x-rst; charset=latin-1")]),
            "only specify the UTF-8 charset",
        ),
        (core_metadata(fields=[("Description-Content-Type", "text/html")]), "description-content-type"),
        (
            core_metadata(metadata_version="2.1", fields=[("Dynamic", "summary")]),
            "introduced in metadata version",
        ),
        (b"", "metadata-version is missing"),
        (b"\xff\xfe\x00", "is missing"),
        (core_metadata().replace(b"demo", b"d\xffmo"), "name is there 1 times, or is not UTF-8"),
    ],
)
def test_faults_are_named(content: bytes, fault: str) -> None:
    assert fault in read(content)[1]


@pytest.mark.parametrize(
    ("classifier", "fault"),
    [
        ("Programming Language :: python :: 3", "did you mean 'Programming Language :: Python :: 3'?"),
        ("Topic :: Nowhere At All", "the classifier 'Topic :: Nowhere At All' is unknown: take it out"),
        ("Natural Language :: Ukranian", "is deprecated: use 'Natural Language :: Ukrainian'"),
        ("License :: OSI Approved :: Jabber Open Source License", "is deprecated: take it out"),
    ],
)
def test_unknown_and_deprecated_classifiers_are_refused_with_advice(classifier: str, fault: str) -> None:
    assert fault in read(core_metadata(fields=[("Classifier", classifier)]))[1]


@pytest.mark.parametrize("classifier", ["Private :: Do Not Upload", "Programming Language :: Python :: 3"])
def test_known_classifiers_and_those_that_keep_a_project_private_are_welcome(classifier: str) -> None:
    assert read(core_metadata(fields=[("Classifier", classifier)]))[1] == ""


def test_of_thousands_of_unknown_classifiers_few_are_named() -> None:
    fields = [("Classifier", f"Nonsense {number:05} " + "x" * 60) for number in range(15_000)]
    faults = read(core_metadata(fields=fields))[1]
    assert faults.count("is unknown") == 10
    assert "14990 more classifiers are unknown or deprecated" in faults


@pytest.mark.parametrize(
    ("version", "fields", "kept"),
    [
        (
            "2.5",
            [("Import-Name", "demo"), ("Import-Name", "_demo; private"), ("Import-Namespace", "ns")],
            {"import_names": ["demo", "_demo; private"], "import_namespaces": ["ns"]},
        ),
        (
            "2.6",
            [("Dynamic", "Requires-Dist"), ("Requires-Dist", "six")],
            {"dynamic": ["Requires-Dist"], "requires_dist": ["six"]},
        ),
    ],
)
def test_import_names_and_partly_dynamic_fields_are_kept(
    version: str, fields: list[tuple[str, str]], kept: dict[str, list[str]]
) -> None:
    found, faults = read(core_metadata(metadata_version=version, fields=fields))
    assert faults == ""
    assert found is not None
    assert kept.items() <= found.fields.items()


@pytest.mark.parametrize(
    ("content_type", "is_rst"),
    [
        (None, True),
        ("text/x-rst", True),
        ("Text/X-RST; charset=UTF-8", True),
        ("text/markdown", False),
        ("text/plain; charset=UTF-8", False),
    ],
)
def test_description_is_restructured_text_unless_it_says_otherwise(
    content_type: str | None, is_rst: bool
) -> None:
    fields = [("Description-Content-Type", content_type)] if content_type else []
    found, faults = read(core_metadata(fields=fields, description="Title\n=====\n"))
    assert faults == ""
    assert found is not None
    assert found.restructured_text == ("Title\n=====" if is_rst else None)


def test_all_faults_are_named_at_once() -> None:
    faults = read(core_metadata(requires_python="three", requires=["a>>1", "b>>2"]))[1]
    assert faults.count("METADATA: ") == 3


@pytest.mark.parametrize(
    "content",
    [
        b"".join(b"X%d: 1\n" % number for number in range(300)),
        b"Classifier: a\n" * 30_000,
        b"".join(b"x%d:\r" % number for number in range(300)),
    ],
)
def test_headers_that_take_quadratic_time_are_not_read(content: bytes) -> None:
    assert "there are more than" in read(core_metadata()[:-1] + content)[1]


@given(st.binary(max_size=200), st.sampled_from([b"", core_metadata(), b"Metadata-Version: 2.6\nName: a\n"]))
def test_any_bytes_are_read_without_a_crash(content: bytes, before: bytes) -> None:
    found, faults = read(before + content)
    assert faults or (found is not None and json.dumps(found.fields))


@given(
    st.dictionaries(
        st.sampled_from(
            ["Summary", "Requires-Dist", "Author-email", "Project-URL", "License-Expression", "Dynamic"]
        ),
        st.text(max_size=60),
    )
)
def test_any_values_are_judged_without_a_crash(fields: dict[str, str]) -> None:
    content = core_metadata(fields=list(fields.items()))
    found, faults = read(content)
    assert faults or (found is not None and json.dumps(found.fields))


@pytest.mark.parametrize(
    ("version", "dynamic", "expected"),
    [
        ("2.4", [], True),
        ("2.2", ["License-File", "description"], True),
        ("2.10", [], True),
        ("2.1", [], False),
        ("1.2", [], False),
        ("2.4", ["Requires-Dist"], False),
        ("2.4", ["provides-extra"], False),
        ("2.4", ["summary", "REQUIRES-PYTHON"], False),
    ],
)
def test_sdist_that_builds_to_what_it_says_is_static(
    version: str, dynamic: list[str], expected: bool
) -> None:
    fields = [("Dynamic", name) for name in dynamic]
    found, _ = read(core_metadata(metadata_version=version, fields=fields))
    assert found is not None
    assert is_static(found.fields) is expected


def test_metadata_without_a_version_is_not_static() -> None:
    assert not is_static({"dynamic": []})
