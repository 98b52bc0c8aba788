"""Network addresses: which of them an upstream may lead to, and which hosts a pattern names.

An upstream decides where the links of its pages and its redirects lead, so it could make the store ask
services that only the store can reach, and publish their answers to everybody (server-side request forgery).
An address is of one kind; an upstream leads to public ones, and to those of the kind that it has itself.

Sources: IANA's special-purpose registries as ``ipaddress`` has them (RFC 6890), RFC 4291, 6052, 3056, 4380.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

AddressKind = Literal["public", "private", "loopback", "link-local"]
"""``private`` is everything that is neither public nor one of the others, such as multicast."""

_NAT64 = IPv6Network("64:ff9b::/96")
HTTPS_PORT = 443
_LOW_32_BITS = 0xFFFFFFFF


def address_kind(address: str) -> AddressKind:
    """The kind of an IP address, given as text; an IPv4 address inside an IPv6 one counts by itself.

    Raises:
        ValueError: it is not an IP address.
    """
    ip = ip_address(address)
    inner = _embedded(ip) if isinstance(ip, IPv6Address) else None
    if inner is not None:
        return address_kind(str(inner))
    if ip.is_loopback or ip.is_unspecified:  # connecting to 0.0.0.0 reaches this machine
        return "loopback"
    if ip.is_link_local:
        return "link-local"
    is_site_local = isinstance(ip, IPv6Address) and ip.is_site_local
    is_public = ip.is_global and not (ip.is_multicast or ip.is_reserved or is_site_local)
    return "public" if is_public else "private"


def may_lead_to(address: str, *, home: Collection[AddressKind]) -> bool:
    """Whether an upstream may lead to an address; ``home``: the kinds of the upstream's own addresses."""
    kind = address_kind(address)
    return kind == "public" or kind in home


def literal_address(host: str) -> str | None:
    """The IP address that a URL's host is; ``None`` for a name."""
    try:
        return str(ip_address(host.strip("[]")))
    except ValueError:
        return None


def is_local_name(host: str) -> bool:
    """Whether a host is plainly one of a local network: a private address, or a name known only there."""
    host = host.rstrip(".").lower()
    is_single_word = not {".", ":"} & set(host)
    if is_single_word or host.endswith((".localhost", ".local", ".internal")):
        return True
    address = literal_address(host)
    if address is not None:
        return address_kind(address) != "public"
    return host.rpartition(".")[2].isdigit()  # 127.1 and the like, which resolvers take for addresses


def pattern_for(host: str, port: int, patterns: Iterable[str]) -> str | None:
    """The pattern that names a host and port: ``HOST``, ``*.DOMAIN``, either with ``:PORT``, else 443.

    ``*.DOMAIN`` names every host below a domain, and not the domain itself. One without a wildcard comes
    first: it may say of a local name or address that it is meant.
    """
    host = host.rstrip(".").lower()
    for pattern in sorted(patterns, key=lambda one: one.startswith("*")):
        name, _, wanted = pattern.partition(":")
        if port != int(wanted or HTTPS_PORT):
            continue
        if host == name or (name.startswith("*.") and host.endswith(name[1:])):
            return pattern
    return None


def may_be_opened(address: str, pattern: str) -> bool:
    """Whether a host that a pattern names may have this address: a private one only if the pattern says so.

    Otherwise whoever answers for a name could open the network behind the wall.
    """
    name = pattern.partition(":")[0]
    is_meant = not name.startswith("*") and is_local_name(name)
    return is_meant or address_kind(address) == "public"


def _embedded(ip: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that a gateway or the kernel would make of an IPv6 address."""
    if ip.ipv4_mapped is not None:
        return ip.ipv4_mapped
    if ip.sixtofour is not None:
        return ip.sixtofour
    if ip.teredo is not None:
        return ip.teredo[1]
    return IPv4Address(int(ip) & _LOW_32_BITS) if ip in _NAT64 else None
