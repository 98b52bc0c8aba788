"""What a tag object says; whether its signature is genuine is tested where evidence is received."""

from __future__ import annotations

import base64
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conveyor.domain.people.keys import (
    allowed_signers_line,
    check_principal,
    fingerprint,
    parse_public_key,
    parse_signature,
)
from conveyor.domain.releases.tags import (
    MAX_TAG_OBJECT_BYTES,
    TagName,
    could_be_release,
    parse_signed_tag,
    read_tag_name,
    tag_counts,
    tag_for,
)
from conveyor.domain.words.names import Version
from conveyor.errors import InvalidInput, InvalidVersion
from releases_made import git, head, make_repository, make_ssh_key, public_key, run, sign_tag, tag_object

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_ssh_key(tmp_path_factory.mktemp("key"))


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_repository(tmp_path_factory.mktemp("git"))


@pytest.fixture(scope="module")
def tag(repository: Path, key: Path) -> bytes:
    """A tag v1.2.1, as git and ssh-keygen make it."""
    return sign_tag(repository, key, "v1.2.1")


def test_signed_tag_of_git_is_read_whole(tag: bytes, repository: Path, key: Path) -> None:
    found = parse_signed_tag(tag)
    assert (found.commit, found.tag, found.version) == (head(repository), "v1.2.1", "1.2.1")
    assert found.tagger.startswith("Maker <maker@localhost> ")
    assert found.message == "release v1.2.1\n"
    assert found.public_key == " ".join(public_key(key).split()[:2])
    assert found.payload + found.signature == tag
    assert found.object_id == git(repository, "rev-parse", "v1.2.1").decode().strip()


def test_object_id_follows_the_hash_of_the_repository(tmp_path: Path, key: Path) -> None:
    repository = tmp_path / "sha256"
    run("git", "init", "-q", "--object-format=sha256", str(repository))
    git(repository, "commit", "-q", "--allow-empty", "-m", "first")
    found = parse_signed_tag(sign_tag(repository, key, "v1.0"))
    assert found.commit == head(repository)
    assert len(found.commit) == 64
    assert found.object_id == git(repository, "rev-parse", "v1.0").decode().strip()


def test_unsigned_tag_is_refused(repository: Path) -> None:
    git(repository, "tag", "-a", "-m", "no signature", "v1.2.2")
    with pytest.raises(InvalidInput, match="not signed"):
        parse_signed_tag(tag_object(repository, "v1.2.2"))


def test_tag_of_a_tag_is_refused(repository: Path, key: Path, tag: bytes) -> None:
    nested = sign_tag(repository, key, "v1.2.3", target="v1.2.1")
    with pytest.raises(InvalidInput, match="it tags a tag, not a commit"):
        parse_signed_tag(nested)


def test_tag_of_a_tree_is_refused(repository: Path, key: Path) -> None:
    tree = sign_tag(repository, key, "v1.2.4", target="HEAD^{tree}")
    with pytest.raises(InvalidInput, match="it tags a tree, not a commit"):
        parse_signed_tag(tree)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (b"tag v1.2.1\n", b"tag v1.2.1\ntag v9.9.9\n", "each once"),
        (b"type commit\n", b"type commit\ntype tag\n", "each once"),
        (b"tagger ", b"encoding latin-1\ntagger ", "each once"),
        (b"type commit\n", b"", "each once"),
        (b"object ", b"objekt ", "each once"),
        (b"type commit\ntag v1.2.1\n", b"tag v1.2.1\ntype commit\n", "each once"),
        (b"> 1", b"> soon 1", "tagger"),
        (b"\n\n", b"\n", "no empty line"),
        (b"release", b"rel\xffease", "UTF-8"),
        (b"release", b"rel\0ease", "UTF-8"),
    ],
)
def test_headers_that_two_readers_could_read_differently_are_refused(
    tag: bytes, old: bytes, new: bytes, problem: str
) -> None:
    assert old in tag
    with pytest.raises(InvalidInput, match=problem):
        parse_signed_tag(tag.replace(old, new, 1))


def test_abbreviated_commit_is_refused(tag: bytes) -> None:
    with pytest.raises(InvalidInput, match="full id"):
        parse_signed_tag(b"object 0123456\n" + tag.partition(b"\n")[2])


def test_second_signature_is_refused(tag: bytes) -> None:
    signature = parse_signed_tag(tag).signature
    with pytest.raises(InvalidInput, match="more than one signature"):
        parse_signed_tag(tag + signature)


def test_signature_of_another_kind_before_the_ssh_signature_is_refused(tag: bytes) -> None:
    with pytest.raises(InvalidInput, match="more than one signature"):
        parse_signed_tag(tag.replace(b"-----BEGIN SSH", b"-----BEGIN PGP SIGNATURE-----\n-----BEGIN SSH", 1))


def test_signature_of_another_kind_is_refused_with_what_to_do(tag: bytes) -> None:
    with pytest.raises(InvalidInput, match="signed with neither SSH nor OpenPGP") as caught:
        parse_signed_tag(tag.replace(b"SSH SIGNATURE", b"SIGNED MESSAGE"))
    assert "gpg.format=ssh" in (caught.value.hint or "")


def test_text_after_the_signature_is_refused(tag: bytes) -> None:
    with pytest.raises(InvalidInput, match="something follows its signature"):
        parse_signed_tag(tag + b"tag v9.9.9\n")


def test_signature_for_another_purpose_is_refused(
    repository: Path, key: Path, tmp_path: Path, tag: bytes
) -> None:
    payload = parse_signed_tag(tag).payload
    other = run("ssh-keygen", "-Y", "sign", "-q", "-n", "promotion", "-f", str(key), stdin=payload)
    with pytest.raises(InvalidInput, match='was made for "promotion", not for "git"'):
        parse_signed_tag(payload + other)


def test_signature_that_is_cut_off_is_refused(tag: bytes) -> None:
    lines = tag.splitlines(keepends=True)
    for broken in (b"".join(lines[:-1]), b"".join([*lines[:-3], lines[-1]])):
        with pytest.raises(InvalidInput):
            parse_signed_tag(broken)


def test_signature_whose_key_cannot_be_read_asks_for_the_tag_not_for_a_key(tag: bytes) -> None:
    signed = parse_signed_tag(tag)
    lines = signed.signature.split(b"\n")
    blob = base64.b64decode(b"".join(lines[1:-2]))
    length = int.from_bytes(blob[10:14], "big")
    broken = blob[:10] + (2).to_bytes(4, "big") + b"no" + blob[14 + length :]
    forged = b"\n".join([lines[0], base64.b64encode(broken), lines[-2], b""])
    with pytest.raises(InvalidInput, match="signature cannot be read") as caught:
        parse_signed_tag(signed.payload + forged)
    assert "git cat-file tag" in (caught.value.hint or "")


def test_bytes_after_the_signature_inside_the_armour_are_refused(tag: bytes) -> None:
    signed = parse_signed_tag(tag)
    lines = signed.signature.split(b"\n")
    blob = base64.b64decode(b"".join(lines[1:-2])) + b"more"
    forged = b"\n".join([lines[0], base64.b64encode(blob), lines[-2], b""])
    with pytest.raises(InvalidInput, match="something follows it"):
        parse_signed_tag(signed.payload + forged)


def test_huge_object_is_refused_before_it_is_read(tag: bytes) -> None:
    with pytest.raises(InvalidInput, match="over the limit"):
        parse_signed_tag(tag + b" " * MAX_TAG_OBJECT_BYTES)


@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_change_of_a_tag_breaks_its_reader(tag: bytes, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(tag)))
    end = data.draw(st.integers(start, min(len(tag), start + 40)))
    changed = tag[:start] + data.draw(st.binary(max_size=40)) + tag[end:]
    with suppress(InvalidInput):
        found = parse_signed_tag(changed)
        assert found.payload + found.signature == changed


@given(st.binary(max_size=300))
def test_no_bytes_break_the_readers_of_tags_and_keys(raw: bytes) -> None:
    with suppress(InvalidInput):
        parse_signed_tag(raw)
    with suppress(InvalidInput):
        parse_signature(raw)
    with suppress(InvalidInput):
        parse_public_key(f"ssh-ed25519 {base64.b64encode(raw).decode()}")


@pytest.mark.parametrize("text", ["v1.2.1", "1.2.1", "v1.2.1rc1", "v2!1.0.post1"])
def test_tag_names_its_version_with_or_without_v(text: str) -> None:
    assert str(read_tag_name(text).version) == text.removeprefix("v")
    assert read_tag_name(text).prefix == ""


@pytest.mark.parametrize(
    "text",
    [
        "V1.2.1",
        "vv1.2.1",
        "v1.2.1-final",
        " v1.0",
        "v1.0 ",
        "v1",
        "churn-7",
        "BASELINE_D2024-10-03",
        "latest",
        "v",
        "",
    ],
)
def test_other_tags_name_no_version(text: str) -> None:
    with pytest.raises(InvalidVersion):
        read_tag_name(text)
    assert not could_be_release(text)


@pytest.mark.parametrize(
    ("tag", "stem", "version"),
    [
        ("demo/v1.2.0", "demo/v", "1.2.0"),
        ("demo-v1.2.0rc1", "demo-v", "1.2.0rc1"),
        ("demo-2-1.2", "demo-2-", "1.2"),
        ("release_2024.10.1", "release_", "2024.10.1"),
        ("v1.2.0-rc1", "v", "1.2.0rc1"),
        ("demo-1.2.0-rc1", "demo-", "1.2.0rc1"),
        ("demo/v1.2.0-rc1", "demo/v", "1.2.0rc1"),
        ("demo/v1.2.0.RC1", "demo/v", "1.2.0rc1"),
        ("v01.2", "v", "1.2"),
    ],
)
def test_what_stands_before_the_version_is_told_apart(tag: str, stem: str, version: str) -> None:
    assert read_tag_name(tag) == TagName(stem, Version(version))
    assert tag_for(Version("1.3.0"), like=tag) == f"{stem}1.3.0"


@pytest.mark.parametrize(
    ("tag", "built", "counts"),
    [
        ("v1.2.0", ["v1.2.0"], True),
        ("1.2.0", ["v1.2.0"], True),
        ("v1.2.0", [None], True),
        ("mine/v1.2.0", ["mine/v1.2.0"], True),
        ("other-v1.2.0", ["v1.2.0"], False),
        ("other-v1.2.0", ["mine-v1.2.0"], False),
        ("mine/v1.2.0", ["v1.2.0"], False),
        ("mine/v1.2.1", ["mine/v1.2.1"], False),
        ("v1.2.0", ["mine/v1.2.0"], False),
        ("v1.2.0rc1", ["v1.2.0rc1"], False),
        ("latest", ["latest"], False),
    ],
)
def test_signed_tag_counts_for_the_release_that_it_names_alone(
    tag: str, built: list[str | None], counts: bool
) -> None:
    assert tag_counts(tag, "1.2.0", project="demo", built_tags=built) is counts


def test_tag_of_more_digits_than_python_makes_a_number_of_names_no_version() -> None:
    with pytest.raises(InvalidVersion):
        read_tag_name("9." * 5000)


@pytest.mark.parametrize(
    ("kind", "options"), [("ed25519", ()), ("ecdsa", ("-b", "256")), ("rsa", ("-b", "2048"))]
)
def test_public_keys_of_common_types_are_read(tmp_path: Path, kind: str, options: tuple[str, ...]) -> None:
    key = make_ssh_key(tmp_path, "key", kind, *options)
    found = parse_public_key(public_key(key))
    assert found == " ".join(public_key(key).split()[:2])
    listed = run("ssh-keygen", "-l", "-f", str(key.with_suffix(".pub"))).decode()
    assert listed.split()[1] == fingerprint(found)


def test_short_rsa_keys_are_refused(tmp_path: Path) -> None:
    key = make_ssh_key(tmp_path, "key", "rsa", "-b", "1024")
    with pytest.raises(InvalidInput, match="2048 bits"):
        parse_public_key(public_key(key))


def test_certificates_are_refused(tmp_path: Path, key: Path) -> None:
    authority = make_ssh_key(tmp_path, "authority")
    subject = tmp_path / "subject.pub"
    subject.write_text(public_key(key))
    run("ssh-keygen", "-q", "-s", str(authority), "-I", "id", "-n", "qa", str(subject))
    with pytest.raises(InvalidInput, match="are not accepted"):
        parse_public_key((tmp_path / "subject-cert.pub").read_text())


def test_private_key_handed_in_by_mistake_is_named_as_such(key: Path) -> None:
    with pytest.raises(InvalidInput, match="private key"):
        parse_public_key(key.read_text())


def test_lines_that_are_no_single_key_are_refused(key: Path) -> None:
    line = public_key(key).strip()
    kind, blob, _ = line.split(maxsplit=2)
    for text in (
        "",
        "ssh-ed25519",
        f"{line}\n{line}",
        f"{kind} !!",
        f"ssh-rsa {blob}",
        f"cert-authority {line}",
    ):
        with pytest.raises(InvalidInput):
            parse_public_key(text)


def test_names_that_are_patterns_in_a_file_of_allowed_signers_are_refused() -> None:
    check_principal("qa@team.example")
    for name in (
        "*",
        "qa@*",
        "qa,other",
        "!qa",
        "qa other",
        'qa"',
        "qa?",
        "",
        "#qa",
        "-qa",
        "q" * 129,
        "qa\n",
    ):
        with pytest.raises(InvalidInput):
            check_principal(name)


def test_allowed_key_counts_for_git_only(key: Path) -> None:
    line = allowed_signers_line("qa@team.example", parse_public_key(public_key(key)), namespace="git")
    assert line.startswith('qa@team.example namespaces="git" ssh-ed25519 ')
    assert line.split()[3] == public_key(key).split()[1]
