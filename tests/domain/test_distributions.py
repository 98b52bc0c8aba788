from __future__ import annotations

import hashlib
import json
import tarfile
import zipfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attestations_made import certificate_of, make_attestation, make_key
from conveyor.domain.distributions.archives import ArchiveLimits
from conveyor.domain.distributions.reading import (
    Digests,
    Distribution,
    LibraryChecks,
    UploadForm,
    read_distribution,
)
from conveyor.domain.distributions.wheels import LARGE_BYTES
from conveyor.errors import InvalidDistribution
from conveyor.operations.store.rendering import fault_of
from conveyor.operations.store.signatures import signature_fault
from distributions_made import (
    Made,
    core_metadata,
    make_sdist,
    make_wheel,
    record_of,
    tar_file,
    wheel_members,
    zip_of,
)

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping

WHEEL = b"Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def read(made: Made, form: Mapping[str, list[str]] | None = None) -> Distribution:
    return read_distribution(
        made.stream,
        filename=made.filename,
        size_bytes=len(made.content),
        digests=Digests(
            sha256=made.sha256,
            blake2b_256=hashlib.blake2b(made.content, digest_size=32).hexdigest(),
            md5=hashlib.md5(made.content, usedforsecurity=False).hexdigest(),
        ),
        form=UploadForm({**made.form, **(form or {})}),
        limits=ArchiveLimits(),
        checks=LibraryChecks(fault_of, signature_fault),
    )


def faults_of(made: Made, form: Mapping[str, list[str]] | None = None) -> tuple[str, ...]:
    with pytest.raises(InvalidDistribution) as caught:
        read(made, form)
    return caught.value.faults


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_sound_wheel_is_described(compression: int) -> None:
    metadata = core_metadata("Demo-Pkg", "1.0rc1", requires_python=">=3.9")
    made = make_wheel("Demo-Pkg", "1.0rc1", metadata=metadata, build="2", compression=compression)
    found = read(made)
    assert found.filename == "demo_pkg-1.0rc1-2-py3-none-any.whl"
    assert (found.project, found.display_name, found.version) == ("demo-pkg", "Demo-Pkg", "1.0rc1")
    assert (found.packagetype, found.requires_python) == ("bdist_wheel", ">=3.9")
    assert found.metadata == metadata
    assert (found.size_bytes, found.digests.sha256) == (len(made.content), made.sha256)


@pytest.mark.parametrize("tar_format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_sound_sdist_is_described(tar_format: int) -> None:
    metadata = core_metadata("Demo-Pkg", "1.0", requires_python=">=3.9", fields=[("License-File", "LICENSE")])
    found = read(make_sdist("Demo-Pkg", metadata=metadata, tar_format=tar_format, extra={"LICENSE": b"MIT"}))
    assert found.filename == "demo_pkg-1.0.tar.gz"
    assert (found.packagetype, found.requires_python, found.metadata) == ("sdist", ">=3.9", metadata)


@pytest.mark.parametrize("version", ["1.3.0.dev4+g1a2b3c4", "1!2.0", "2026.11.21.post1"])
@pytest.mark.parametrize(
    "tag", ["cp311-cp311-linux_x86_64", "py2.py3-none-any", "cp39-abi3-macosx_11_0_arm64"]
)
def test_local_versions_and_any_known_platform_are_welcome(version: str, tag: str) -> None:
    assert read(make_wheel(version=version, tag=tag)).version == version


@pytest.mark.parametrize("name", ["RECORD.jws", "RECORD.p7s"])
def test_signatures_of_record_need_no_line_in_it(name: str) -> None:
    assert read(make_wheel(replace={f"demo-1.0.dist-info/{name}": b"signed"})).version == "1.0"


@pytest.mark.parametrize("algorithm", ["sha384", "sha512", "blake2b"])
def test_record_may_use_better_hashes(algorithm: str) -> None:
    from base64 import urlsafe_b64encode

    members = wheel_members()
    record = members.pop("demo-1.0.dist-info/RECORD").decode()
    content = members["demo/__init__.py"]
    digest = urlsafe_b64encode(hashlib.new(algorithm, content).digest()).rstrip(b"=").decode()
    lines = [line for line in record.splitlines() if not line.startswith("demo/")]
    lines.append(f"demo/__init__.py,{algorithm}={digest},{len(content)}")
    assert read(make_wheel(replace={"RECORD": "\n".join(lines).encode()})).version == "1.0"


def _record(*lines: str, without: str = "demo/__init__.py") -> bytes:
    """The RECORD of the small wheel with other lines for one file."""
    kept = wheel_members()["demo-1.0.dist-info/RECORD"].decode().splitlines()
    return "\n".join([*(line for line in kept if not line.startswith(without)), *lines, ""]).encode()


INIT = "demo/__init__.py"


@pytest.mark.parametrize(
    ("replace", "fault"),
    [
        ({INIT: b"changed"}, f"RECORD has a hash other than that of {INIT}"),
        ({INIT: None}, f"RECORD lists {INIT}, which is not in the wheel"),
        ({"demo/extra.py": b""}, "RECORD does not list demo/extra.py"),
        ({"RECORD": None}, "the wheel has no demo-1.0.dist-info/RECORD"),
        ({"RECORD": _record(f"{INIT},,")}, f"RECORD has no hash for {INIT}"),
        ({"RECORD": _record(f"{INIT},md5=abc,22")}, f"weaker than SHA-256 for {INIT} (md5)"),
        ({"RECORD": _record(f"{INIT},sha256=abc,1")}, f"RECORD has a size other than that of {INIT}"),
        ({"RECORD": _record(f"{INIT},sha256=abc", f"{INIT}")}, "RECORD has a malformed line"),
        ({"RECORD": _record(f"{INIT},sha256=abc,x")}, "RECORD has a malformed line"),
        ({"RECORD": _record(f"{INIT},sha256=abc,", f"{INIT},sha256=abc,")}, f"RECORD lists {INIT} twice"),
        ({"RECORD": b"\xff,,"}, "not a table of comma-separated values"),
        ({"RECORD": b'"a'}, "not a table of comma-separated values"),
        ({"WHEEL": None}, "the wheel has no demo-1.0.dist-info/WHEEL"),
        ({"METADATA": None}, "the wheel has no demo-1.0.dist-info/METADATA"),
        ({"WHEEL": WHEEL.replace(b"1.0", b"2.0")}, "Wheel-Version is 2.0"),
        ({"WHEEL": WHEEL.replace(b"Wheel-Version: 1.0\n", b"")}, "Wheel-Version is missing"),
        ({"WHEEL": b"\xff"}, "WHEEL is not UTF-8"),
        ({"METADATA": core_metadata("other")}, "the name is 'other', but the filename says 'demo'"),
        ({"METADATA": core_metadata(version="1.0.0")}, "the version is '1.0.0', but the filename says '1.0'"),
        ({"METADATA": core_metadata(fields=[("License-File", "L")])}, "licence file L is not in the archive"),
        ({"other-1.0.dist-info/x": b""}, "must have one folder demo-1.0.dist-info"),
        ({"other-1.0.data/data/x": b""}, "the folder other-1.0.data does not belong to demo 1.0"),
        ({"demo-1.0.data/nowhere/x": b""}, "is in no known folder of .data"),
        (
            {"demo-1.0.dist-info/entry_points.txt": b"[console_scripts]\n../x = a:b\n"},
            "has a path in its name",
        ),
        ({"demo-1.0.dist-info/entry_points.txt": b"[console_scripts]\nx = a b\n"}, "is not MODULE:FUNCTION"),
        ({"demo-1.0.dist-info/entry_points.txt": b"x = 1"}, "entry_points.txt cannot be parsed"),
        ({"../x": b""}, "has '..' in its path"),
    ],
)
def test_wheel_with_a_fault_is_refused(replace: dict[str, bytes | None], fault: str) -> None:
    assert fault in "; ".join(faults_of(make_wheel(replace=replace)))


def test_dist_info_of_another_version_is_refused() -> None:
    made = Made("demo-2.0-py3-none-any.whl", make_wheel().content)
    assert "the folder demo-1.0.dist-info does not belong to demo 2.0 [wheel-dist-info]" in faults_of(made)


def test_wheel_without_dist_info_is_refused() -> None:
    made = Made("demo-1.0-py3-none-any.whl", zip_of({"a.py": b""}))
    assert faults_of(made) == (
        "the wheel must have one folder demo-1.0.dist-info; it has: none [wheel-dist-info]",
    )


def test_licence_files_may_be_in_their_folder() -> None:
    metadata = core_metadata(fields=[("License-File", "L/MIT")])
    made = make_wheel(metadata=metadata, extra={"demo-1.0.dist-info/licenses/L/MIT": b"x"})
    assert read(made).core_metadata["license_files"] == ["L/MIT"]


def test_entry_points_that_are_sound_are_let_pass() -> None:
    points = (
        b"[console_scripts]\ndemo = demo.cli:main\nd2=demo:a.b [x]\n\n[other]\nwith/path = anything at all\n"
    )
    assert read(make_wheel(extra={"demo-1.0.dist-info/entry_points.txt": points})).version == "1.0"


def test_wrong_hashes_of_many_files_are_named_in_few_sentences() -> None:
    names = {f"demo/{number:04}.py": b"1" for number in range(3000)}
    members = wheel_members(extra=names)
    changed = {path: b"2" if path in names else content for path, content in members.items()}
    faults = faults_of(Made("demo-1.0-py3-none-any.whl", zip_of(changed)))
    assert len(faults) == 11
    assert faults[-1] == "RECORD has a hash other than that of and 2990 more [record-hash]"


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_faults_of_a_large_wheel_are_found_by_the_threads_that_share_it(compression: int) -> None:
    large = {f"demo/{number}.bin": bytes([number]) * (LARGE_BYTES // 3) for number in range(6)}
    wrong = {"demo/1.bin": bytes(LARGE_BYTES // 3), "demo/4.bin": b"short", "demo/5.bin": None}
    assert read(make_wheel(extra=large, compression=compression)).version == "1.0"
    assert faults_of(make_wheel(extra=large, replace=wrong, compression=compression)) == (
        "RECORD lists demo/5.bin, which is not in the wheel [record-complete]",
        "RECORD has a hash other than that of demo/1.bin [record-hash]",
        "RECORD has a hash other than that of demo/4.bin [record-hash]",
        "RECORD has a size other than that of demo/4.bin [record-hash]",
    )


def test_damaged_members_of_a_large_wheel_are_named_in_the_order_of_the_file() -> None:
    names = ["demo/b.bin", "demo/a.bin", "demo/c.bin"]
    content = b"sound" + bytes(LARGE_BYTES // 2)
    sound = make_wheel(extra=dict.fromkeys(names, content), compression=zipfile.ZIP_STORED)
    damaged = Made(sound.filename, sound.content.replace(b"sound", b"wrong"))
    assert faults_of(damaged) == tuple(
        f"{name} is damaged: its CRC-32 is not the one listed [zip-structure]" for name in names
    )


@pytest.mark.parametrize(
    ("made", "fault"),
    [
        (make_sdist(top="demo-2.0"), "must have one top folder, demo-1.0; it has: demo-2.0"),
        (make_sdist(more=[(tar_file("other/x"), b"")]), "it has: demo-1.0, other"),
        (make_sdist(metadata=core_metadata("other")), "the name is 'other', but the filename says 'demo'"),
        (make_sdist(metadata=core_metadata(requires_python="x")), "'x' is invalid for 'requires-python'"),
        (make_sdist(metadata=core_metadata(fields=[("License-File", "L")])), "licence file L is not in"),
        (make_sdist(more=[(tar_file("demo-1.0/PKG-INFO"), b"")]), "has demo-1.0/PKG-INFO twice"),
        (make_sdist(more=[(tar_file("../x"), b"")]), "has '..' in its path"),
        (Made("demo-1.0.tar.gz", make_wheel().content), "the file is not a gzip stream"),
        (Made("demo-1.0-py3-none-any.whl", make_sdist().content), "the file is not a zip archive"),
        (Made("demo-1.0.zip", make_sdist().content), "neither a wheel (.whl) nor a source distribution"),
    ],
)
def test_sdist_with_a_fault_is_refused(made: Made, fault: str) -> None:
    form = {"name": ["demo"], "version": ["1.0"], "pyversion": []}
    assert fault in "; ".join(faults_of(made, form))


def test_sdist_without_package_info_is_refused() -> None:
    from distributions_made import tar_gz_of

    made = Made("demo-1.0.tar.gz", tar_gz_of([(tar_file("demo-1.0/setup.py"), b"")]))
    assert faults_of(made) == ("the sdist must have one demo-1.0/PKG-INFO; it has 0 [sdist-pkg-info]",)


DESCRIBED = core_metadata(
    metadata_version="2.3",
    requires_python=">=3.9,<4",
    requires=["six[a,b]>=1; python_version < '4'", "Other"],
    fields=[
        ("Summary", "One  line"),
        ("Project-URL", "Home, https://example.com/x"),
        ("Classifier", "Topic :: Utilities"),
        ("Provides-Extra", "extra-one"),
    ],
)
HONEST = {
    "requires_python": ["<4, >=3.9"],
    "requires_dist": ["Other", 'six[b,a] >= 1 ; python_version<"4"'],
    "summary": ["One line"],
    "project_urls": ["Home,https://example.com/x"],
    "classifiers": ["Topic :: Utilities"],
    "provides_extra": ["Extra_One"],
    "description": ["anything"],
    "keywords": ["x"],
    "metadata_version": ["2.1"],
    "license": [""],
    "attestations": ["[]"],
    "gpg_signature": ["x"],
    "comment": [""],
    "unheard_of": ["y"],
}


def test_form_that_agrees_in_its_own_spelling_is_accepted() -> None:
    made = make_wheel(metadata=DESCRIBED)
    md5 = hashlib.md5(made.content, usedforsecurity=False).hexdigest()
    blake2 = hashlib.blake2b(made.content, digest_size=32).hexdigest()
    digests = {"md5_digest": [md5.upper()], "blake2_256_digest": [blake2], "sha256_digest": [made.sha256]}
    assert read(made, {**HONEST, **digests}).version == "1.0"


@pytest.mark.parametrize(
    ("form", "fault"),
    [
        ({":action": ["submit"]}, "the form field :action is 'submit'"),
        ({"protocol_version": ["2"]}, "the form field protocol_version is '2'"),
        ({"filetype": ["sdist"]}, "the form field filetype is 'sdist'"),
        ({"sha256_digest": ["0" * 64, "1" * 64]}, "the form field sha256_digest is there more than once"),
        ({"summary": ["One line", "Two"]}, "the form field summary is there more than once"),
        ({"import_name": ["other"]}, "the form field import_name differs from the file"),
        ({"platform": ["linux"]}, "the form field platform differs from the file"),
        ({"filetype": []}, "the form field filetype is ''"),
        ({"pyversion": ["cp311"]}, "the form field pyversion is 'cp311'"),
        ({"name": ["other"]}, "the form field name is 'other'"),
        ({"name": []}, "the form field name is missing"),
        ({"version": ["1.1"]}, "the form field version is '1.1'"),
        ({"version": ["9" * 9000]}, "the form field version is"),
        ({"sha256_digest": ["0" * 64]}, "the form field sha256_digest is"),
        ({"sha256_digest": ["ü"]}, "the form field sha256_digest is"),
        ({"md5_digest": ["0" * 32]}, "the form field md5_digest is"),
        ({"blake2_256_digest": ["0" * 64]}, "the form field blake2_256_digest is"),
        ({"sha256_digest": []}, "the form has no digest of the file"),
        ({"requires_python": [">=3.10"]}, "the form field requires_python is '>=3.10'"),
        ({"summary": ["Another"]}, "the form field summary is 'Another'"),
        ({"author_email": ["a@b"]}, "the form field author_email is 'a@b', but the file says ''"),
        ({"requires_dist": ["Other"]}, "the form field requires_dist differs from the file"),
        ({"requires_dist": ["Other", "((("]}, "the form field requires_dist differs from the file"),
        ({"project_urls": ["Home, https://example.com/y"]}, "the form field project_urls differs"),
        ({"classifiers": ["Topic :: Utilities", "Private :: X"]}, "the form field classifiers differs"),
        ({"provides_extra": ["x"]}, "the form field provides_extra differs"),
    ],
)
def test_form_that_disagrees_with_the_file_is_refused(form: dict[str, list[str]], fault: str) -> None:
    assert fault in "; ".join(faults_of(make_wheel(metadata=DESCRIBED), form))


def test_description_that_does_not_render_is_refused() -> None:
    declared = core_metadata(
        fields=[("Description-Content-Type", "text/x-rst")], description="A\n\n.. nonsense::\n"
    )
    assert faults_of(make_wheel(metadata=declared)) == (
        (
            "the description does not render as reStructuredText: "
            'line 3: Unknown directive type "nonsense"; fix it [description-rendering]'
        ),
    )
    undeclared = core_metadata(description="Look at `this\n")
    assert "say with description-content-type what else it is, such as text/markdown" in "".join(
        faults_of(make_sdist(metadata=undeclared))
    )


@pytest.mark.parametrize("content_type", ["text/markdown; variant=GFM", "text/plain"])
def test_description_in_markdown_or_plain_text_always_renders(content_type: str) -> None:
    metadata = core_metadata(
        fields=[("Description-Content-Type", content_type)], description="``` `a\n\n.. nonsense::\n"
    )
    assert read(make_wheel(metadata=metadata)).version == "1.0"


def test_all_faults_of_name_form_archive_and_metadata_are_named_at_once() -> None:
    made = make_wheel(
        metadata=core_metadata(requires_python="three"), replace={INIT: b"changed", "x.py": b""}
    )
    faults = faults_of(made, {"sha256_digest": ["0" * 64], "version": ["2"]})
    assert len(faults) == 6
    assert all("\n" not in fault for fault in faults)


def test_attestations_about_the_file_are_kept_with_it() -> None:
    made = make_wheel()
    body = make_attestation(made)
    (found,) = read(made, {"attestations": [json.dumps([body])]}).attestations
    assert (found.kind, found.body) == ("publish", body)


def test_attestation_that_does_not_verify_is_refused() -> None:
    made = make_wheel()
    body = make_attestation(made, certificate=certificate_of(make_key()))
    assert faults_of(made, {"attestations": [json.dumps([body])]}) == (
        (
            "the attestation of the kind publish: "
            "its signature is not made with the key of its certificate [attestations]"
        ),
    )
    about_another = json.dumps([make_attestation(make_sdist())])
    assert len(faults_of(made, {"attestations": [about_another]})) == 2


def test_hostile_names_are_shown_escaped() -> None:
    faults = faults_of(make_wheel(replace={"a\x1b[31m\n": b""}))
    assert any("a\\x1b[31m\\n" in fault for fault in faults)
    assert all(fault.isprintable() for fault in faults)


@settings(deadline=None, max_examples=200)
@given(st.randoms(use_true_random=False), st.sampled_from(["wheel", "sdist"]))
def test_damaged_distributions_are_refused(chance: random.Random, kind: str) -> None:
    made = make_wheel() if kind == "wheel" else make_sdist()
    content = bytearray(made.content)
    for _ in range(chance.randint(1, 4)):
        content[chance.randrange(len(content))] = chance.randrange(256)
    damaged = Made(made.filename, bytes(content))
    try:
        found = read(damaged)
    except InvalidDistribution:
        return
    # Only bytes without a meaning may differ: dates and the version of the writing system.
    assert found.metadata == read(made).metadata


def test_record_of_the_makers_is_right() -> None:
    assert record_of({"a,b": b""}, "R").startswith(b'"a,b",sha256=')
