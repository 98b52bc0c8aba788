from __future__ import annotations

import pytest

from conveyor.domain.words.addresses import AddressKind, address_kind, literal_address, may_lead_to


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("8.8.8.8", "public"),
        ("2606:4700::1", "public"),
        ("127.0.0.1", "loopback"),
        ("127.9.9.9", "loopback"),
        ("::1", "loopback"),
        ("0.0.0.0", "loopback"),  # noqa: S104 - an address to judge, nothing binds to it
        ("::", "loopback"),
        ("169.254.169.254", "link-local"),
        ("fe80::1", "link-local"),
        ("fe80::1%eth0", "link-local"),
        ("10.1.2.3", "private"),
        ("172.16.0.1", "private"),
        ("192.168.1.1", "private"),
        ("100.64.0.1", "private"),
        ("198.18.0.1", "private"),
        ("224.0.0.1", "private"),
        ("255.255.255.255", "private"),
        ("fd00::1", "private"),
        ("fec0::1", "private"),
        ("2001:db8::1", "private"),
    ],
)
def test_address_is_of_one_kind(address: str, kind: AddressKind) -> None:
    assert address_kind(address) == kind


@pytest.mark.parametrize(
    "address", ["::ffff:127.0.0.1", "2002:7f00:1::", "64:ff9b::7f00:1"], ids=["mapped", "6to4", "NAT64"]
)
def test_ipv4_address_inside_an_ipv6_one_counts_by_itself(address: str) -> None:
    assert address_kind(address) == "loopback"


def test_ipv6_address_with_a_public_one_inside_is_public() -> None:
    assert address_kind("::ffff:8.8.8.8") == "public"


@pytest.mark.parametrize("text", ["", "localhost", "2130706433", "127.1", "0x7f000001"])
def test_other_spellings_are_no_address(text: str) -> None:
    """Connections refuse them too: what is checked is what is connected to."""
    assert literal_address(text) is None
    with pytest.raises(ValueError, match="address"):
        address_kind(text)


def test_host_of_a_url_may_have_brackets() -> None:
    assert literal_address("[::1]") == "::1"


@pytest.mark.parametrize(
    ("home", "allowed"),
    [
        ([], {"public"}),
        (["public"], {"public"}),
        (["private"], {"public", "private"}),
        (["loopback"], {"public", "loopback"}),
        (["link-local", "private"], {"public", "private", "link-local"}),
    ],
)
def test_upstream_leads_to_public_addresses_and_those_of_its_own_kind(
    home: list[AddressKind], allowed: set[AddressKind]
) -> None:
    examples = {"public": "8.8.8.8", "private": "10.0.0.1", "loopback": "127.0.0.1", "link-local": "fe80::1"}
    found = {kind for kind, address in examples.items() if may_lead_to(address, home=home)}
    assert found == allowed
