"""Passwords: what bytes mean, how delays grow, where a request came from."""

from __future__ import annotations

import pytest

from conveyor.domain.people.passwords import (
    FORGIVEN_AFTER_SECONDS,
    MOST_COUNTED,
    Patience,
    WrongPasswords,
    client_address,
    networks,
    readings,
)

PATIENCE = Patience(free=3, most_seconds=20.0)
PROXIES = networks("127.0.0.1, 10.0.0.0/8, fd00::/8")


def test_ascii_has_one_reading() -> None:
    assert readings(b"ada:correct horse") == ("ada:correct horse",)


def test_latin_1_that_is_not_utf_8_has_one_reading() -> None:
    assert readings("ada:größer".encode("latin-1")) == ("ada:größer",)


def test_utf_8_may_be_latin_1_too_unless_that_holds_control_characters() -> None:
    assert readings("ada:größer".encode()) == ("ada:größer",)
    assert readings("ada:grün".encode()) == ("ada:grün", "ada:grÃ¼n")


def test_delay_doubles_after_the_free_ones_up_to_its_limit() -> None:
    assert [PATIENCE.delay_seconds(wrong) for wrong in range(10)] == [0, 0, 0, 1, 2, 4, 8, 16, 20, 20]
    assert PATIENCE.delay_seconds(10**6) == 20


def wrong_ones(count: int, *, key: str = "ada") -> WrongPasswords:
    counted = WrongPasswords(PATIENCE)
    for _ in range(count):
        counted.add(key, 100.0)
    return counted


def test_wait_runs_out_and_is_of_that_key_only() -> None:
    counted = wrong_ones(5)
    assert counted.wait_seconds("ada", 100.0) == 4
    assert counted.wait_seconds("ada", 103.5) == 0.5
    assert counted.wait_seconds("ada", 104.0) == 0
    assert counted.wait_seconds("zoe", 100.0) == 0


def test_right_password_and_a_long_silence_begin_anew() -> None:
    forgiven, silent = wrong_ones(9), wrong_ones(9)
    forgiven.forgive("ada")
    assert forgiven.wait_seconds("ada", 100.0) == 0
    later = 101.0 + FORGIVEN_AFTER_SECONDS
    silent.add("ada", later)
    assert silent.wait_seconds("ada", later) == 0


def test_who_was_wrong_longest_ago_is_forgotten_first() -> None:
    counted = wrong_ones(5)
    for number in range(MOST_COUNTED):
        assert counted.wait_seconds("ada", 100.0) == 4
        counted.add(f"user-{number}", 100.0)
    assert counted.wait_seconds("ada", 100.0) == 0


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("203.0.113.5", [], "203.0.113.5"),
        ("203.0.113.5", ["198.51.100.1"], "203.0.113.5"),
        ("127.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("::ffff:127.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("127.0.0.1", ["1.1.1.1, 198.51.100.1", "10.1.2.3"], "198.51.100.1"),
        ("127.0.0.1", ["10.1.2.3"], "10.1.2.3"),
        ("127.0.0.1", ["198.51.100.1, nonsense"], "127.0.0.1"),
        ("127.0.0.1", [], "127.0.0.1"),
        ("2001:db8:1:2:3::4", [], "2001:db8:1:2::/64"),
        ("fd00::1%eth0", ["2001:db8:1:2::9"], "2001:db8:1:2::/64"),
        ("", [], ""),
    ],
)
def test_address_is_the_last_that_no_trusted_proxy_has(peer: str, forwarded: list[str], address: str) -> None:
    assert client_address(peer, forwarded, PROXIES) == address


def test_nobody_is_trusted_without_being_named() -> None:
    assert client_address("127.0.0.1", ["198.51.100.1"], networks("")) == "127.0.0.1"


def test_list_of_networks_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(ValueError, match=r"10\.0\.0\.0/99"):
        networks("127.0.0.1, 10.0.0.0/99")
