from __future__ import annotations

import pytest

from conveyor.domain.indexes.definitions import DEFAULT_INDEXES, Claim, Index
from conveyor.domain.indexes.policy import (
    FilenameState,
    UploadLimits,
    accepting_index,
    chain_of,
    check_file_size,
    decide_filename,
    may_claim_name,
    must_ask_upstream,
    not_here,
)
from conveyor.domain.people.access import ANONYMOUS, Identity
from conveyor.domain.words.names import project_name
from conveyor.errors import (
    Conflict,
    ConveyorError,
    DistributionExists,
    Forbidden,
    NotFound,
    TooLarge,
    Unauthorized,
)

INDEXES = {index.name: index for index in DEFAULT_INDEXES} | {
    "risk/dev": Index("risk/dev", "local", "uploads", bases=("stable",)),
    "alone": Index("alone", "local", "uploads"),
}
ADMIN = Identity("admin", frozenset({"admin"}))
NARROWED_ADMIN = Identity("admin", frozenset({"admin"}), indexes=frozenset({"unstable"}))
CLAIMER = Identity("cleo", frozenset({"upload", "claim"}))
UPLOADER = Identity("ulla", frozenset({"upload"}))
READER = Identity("rea", frozenset({"read", "upload"}))
DEMO = project_name("demo")


def test_index_that_accepts_uploads_is_given() -> None:
    assert accepting_index("unstable", INDEXES, ANONYMOUS).name == "unstable"


@pytest.mark.parametrize(
    ("name", "error", "message", "hint"),
    [
        ("stable", Forbidden, 'index "stable" is promotion-only', 'upload to "unstable" or "risk/dev"'),
        (
            "testing",
            Forbidden,
            'index "testing" is promotion-only',
            'upload to "unstable" and promote from there',
        ),
        ("pypi", Forbidden, 'index "pypi" is a mirror', "upload to"),
        ("nowhere", NotFound, 'there is no index "nowhere"', "upload to"),
    ],
)
def test_other_indexes_say_where_to_upload(
    name: str, error: type[ConveyorError], message: str, hint: str
) -> None:
    with pytest.raises(error) as caught:
        accepting_index(name, INDEXES, UPLOADER)
    assert message in caught.value.message
    assert hint in (caught.value.hint or "")


@pytest.mark.parametrize(("is_private", "option"), [(False, ""), (True, " --private")])
def test_promotion_only_index_that_no_other_leads_to_says_how_to_make_one(
    is_private: bool, option: str
) -> None:
    """Uploading to an index that does not lead there would end in a refused promotion."""
    indexes = INDEXES | {"alone": Index("alone", "local", "promotion-only", is_private=is_private)}
    with pytest.raises(Forbidden) as caught:
        accepting_index("alone", indexes, UPLOADER if not is_private else READER)
    command = f"conveyor store index create NAME --mode uploads --base alone{option}"
    assert caught.value.hint == f"an administrator makes an index that leads there: {command}"


def test_store_without_an_index_for_uploads_says_how_to_make_one() -> None:
    indexes = {"pypi": Index("pypi", "mirror", "promotion-only")}
    with pytest.raises(Forbidden) as caught:
        accepting_index("pypi", indexes, UPLOADER)
    assert "conveyor store index create NAME --mode uploads" in (caught.value.hint or "")


@pytest.mark.parametrize("name", ["stable", "pypi", "nowhere"])
def test_advice_names_no_private_index_to_strangers(name: str) -> None:
    indexes = INDEXES | {
        "secret": Index("secret", "local", "uploads", bases=("unstable",), is_private=True),
    }
    reader = Identity("rea", frozenset({"read"}))
    for identity, is_named in ((ANONYMOUS, False), (reader, True)):
        with pytest.raises(ConveyorError) as caught:
            accepting_index(name, indexes, identity)
        assert ("secret" in (caught.value.hint or "")) is is_named


def test_index_that_the_uploader_may_not_hear_of_is_not_there() -> None:
    indexes = INDEXES | {"secret": Index("secret", "local", "promotion-only", is_private=True)}
    with pytest.raises(NotFound) as hidden:
        accepting_index("secret", indexes, UPLOADER)
    with pytest.raises(NotFound) as absent:
        accepting_index("secret", INDEXES, UPLOADER)
    assert str(hidden.value) == str(absent.value)
    with pytest.raises(Forbidden, match="promotion-only"):
        accepting_index("secret", indexes, ADMIN)


def test_strangers_are_asked_who_they_are_only_where_something_is_private() -> None:
    secret = {"secret": Index("secret", "local", "uploads", is_private=True)}
    error = NotFound("there is nothing")
    assert not_here(error, ANONYMOUS, INDEXES) is error
    assert isinstance(not_here(error, ANONYMOUS, INDEXES | secret), Unauthorized)
    assert not_here(error, UPLOADER, INDEXES | secret) is error


def test_chain_is_what_an_index_shows_and_what_shows_it() -> None:
    assert chain_of("unstable", INDEXES) == {"unstable", "testing", "stable"}
    assert chain_of("stable", INDEXES) == {"unstable", "testing", "stable", "risk/dev"}
    assert chain_of("risk/dev", INDEXES) == {"risk/dev", "stable"}
    assert chain_of("alone", INDEXES) == {"alone"}


def test_upstream_is_asked_for_names_nobody_claimed_and_never_for_administrators() -> None:
    assert must_ask_upstream(CLAIMER, DEMO, [])
    assert not must_ask_upstream(CLAIMER, DEMO, [Claim("demo")])
    assert not must_ask_upstream(CLAIMER, project_name("risk-a"), [Claim("risk", is_prefix=True)])
    assert must_ask_upstream(CLAIMER, project_name("risky"), [Claim("risk", is_prefix=True)])
    assert not must_ask_upstream(ADMIN, DEMO, [])


def test_administrators_token_for_one_index_asks_upstream_before_it_claims_for_all() -> None:
    assert must_ask_upstream(NARROWED_ADMIN, DEMO, [])
    may_claim_name(NARROWED_ADMIN, DEMO, upstream_has=False)


def test_new_name_may_be_claimed_by_those_with_the_right() -> None:
    may_claim_name(CLAIMER, DEMO, upstream_has=False)


@pytest.mark.parametrize("upstream_has", [None, True, False])
def test_administrator_claims_whatever_upstream_has(upstream_has: bool | None) -> None:
    may_claim_name(ADMIN, DEMO, upstream_has=upstream_has)


@pytest.mark.parametrize(
    ("identity", "upstream_has", "error"),
    [
        (CLAIMER, True, Forbidden),
        (NARROWED_ADMIN, True, Forbidden),
        (NARROWED_ADMIN, None, Forbidden),
        (CLAIMER, None, Forbidden),
        (UPLOADER, False, Forbidden),
        (ANONYMOUS, False, Unauthorized),
    ],
)
def test_others_may_not_claim(
    identity: Identity, upstream_has: bool | None, error: type[ConveyorError]
) -> None:
    with pytest.raises(error):
        may_claim_name(identity, DEMO, upstream_has=upstream_has)


def test_name_of_a_module_of_python_needs_an_administrator() -> None:
    with pytest.raises(Forbidden, match="Python itself has a module of that name"):
        may_claim_name(CLAIMER, project_name("json"), upstream_has=False)
    may_claim_name(ADMIN, project_name("json"), upstream_has=None)


def test_name_that_looks_like_another_needs_an_administrator() -> None:
    with pytest.raises(Forbidden, match="has a name that looks alike") as caught:
        may_claim_name(CLAIMER, DEMO, upstream_has=False, has_lookalike=True)
    assert "ask an administrator to claim it" in (caught.value.hint or "")
    may_claim_name(ADMIN, DEMO, upstream_has=None, has_lookalike=True)


def decide(
    holders: dict[str, str] | None = None,
    *,
    is_retired: bool = False,
    closed_at: str | None = None,
    other_spelling: str | None = None,
    version: str = "1.0",
) -> str | None:
    seen = frozenset({"unstable", "testing", "stable", "pypi"})
    state = FilenameState(
        holders or {},
        shown=seen,
        readable=seen,
        is_retired=is_retired,
        closed_at=closed_at,
        other_spelling=other_spelling,
    )
    return decide_filename(
        state, index="unstable", filename="demo-1.0.tar.gz", project="demo", version=version, sha256="a"
    )


def test_new_file_is_new() -> None:
    assert decide() is None


@pytest.mark.parametrize("holder", ["unstable", "stable"])
def test_identical_file_is_where_it_is_also_in_a_closed_release(holder: str) -> None:
    assert decide({holder: "a"}, closed_at="2026-11-21T08:00:00.000000Z") == holder


def test_identical_file_in_an_index_above_is_not_here() -> None:
    """What builds on "unstable" is not seen through it: saying "already here" would be no upload."""
    assert decide({"secret": "a"}) is None


def test_other_content_in_an_index_that_the_uploader_may_not_read_is_refused_without_its_name() -> None:
    with pytest.raises(DistributionExists, match="already exists in this store with other content"):
        decide({"secret": "b"})


def test_other_content_is_refused_wherever_the_file_is_in_the_chain() -> None:
    with pytest.raises(DistributionExists, match='already exists in index "stable" with other content'):
        decide({"stable": "b"})


@pytest.mark.parametrize("holders", [{}, {"unstable": "a"}])
def test_retired_name_is_never_given_again(holders: dict[str, str]) -> None:
    with pytest.raises(Conflict, match="was deleted"):
        decide(holders, is_retired=True)


def test_closed_release_takes_no_file_and_names_the_way_out() -> None:
    with pytest.raises(Conflict) as caught:
        decide(closed_at="2026-11-21T08:00:00.000000Z")
    assert "1.0.post1" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("version", "hint"),
    [
        ("1.0rc1", "make a post release, such as 1.0rc1.post1"),
        ("1.0.post1", "make a post release, such as 1.0.post2"),
        ("1.0.dev2+g1a2b3c4", "release a new version and upload again"),
        ("1.0.post1.dev2", "release a new version and upload again"),
    ],
)
def test_way_out_of_a_closed_release_is_a_version_that_exists(version: str, hint: str) -> None:
    with pytest.raises(Conflict) as caught:
        decide(closed_at="2026-11-21T08:00:00.000000Z", version=version)
    assert caught.value.hint == hint


def test_equal_version_in_another_spelling_is_refused() -> None:
    with pytest.raises(Conflict, match=r"is here as 1\.0\.0, which is the same version"):
        decide(other_spelling="1.0.0")


def test_file_over_the_limit_is_refused() -> None:
    limits = UploadLimits(file_bytes=10)
    check_file_size(10, limits)
    with pytest.raises(TooLarge, match="more than 10 bytes"):
        check_file_size(11, limits)
