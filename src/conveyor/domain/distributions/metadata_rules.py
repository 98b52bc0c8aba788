"""What an index asks of core metadata beyond its syntax: links, addresses, references, classifiers.

Each rule gives sentences; ``domain.distributions.metadata`` puts the name of the file before them. The values
are bounded in number and length before they come here.

Sources: core metadata specification 2.6, PEP 639 (License and License-Expression), PEP 643 (Dynamic); what
the public index asks, so that a release that passes here can go there.
"""

from __future__ import annotations

import re
from email.utils import getaddresses
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from conveyor.domain.distributions.classifiers import classifier_faults
from conveyor.domain.words.requirements import read_requirement

if TYPE_CHECKING:
    from collections.abc import Iterator

    from packaging.metadata import RawMetadata

_LONGEST_SUMMARY = 512
_LONGEST_LABEL = 32


def rule_faults(raw: RawMetadata) -> Iterator[str]:
    """A sentence for each rule that the metadata breaks."""
    yield from _requirement_faults(raw)
    yield from _address_faults(raw)
    yield from _link_faults(raw)
    yield from classifier_faults(raw.get("classifiers", ()))
    if len(raw.get("summary", "")) > _LONGEST_SUMMARY:
        yield f"the summary is longer than {_LONGEST_SUMMARY} characters"
    if "dynamic" in (field.lower() for field in raw.get("dynamic", ())):
        yield "'dynamic' is not a valid dynamic field"
    if raw.get("license") and raw.get("license_expression"):
        yield "there are both 'license' and 'license-expression': keep the second only"


def _requirement_faults(raw: RawMetadata) -> Iterator[str]:
    for field, texts in (
        ("requires-dist", raw.get("requires_dist", ())),
        ("provides-dist", raw.get("provides_dist", ())),
        ("obsoletes-dist", raw.get("obsoletes_dist", ())),
    ):
        for text in texts:
            requirement = read_requirement(text)
            if requirement is None:
                yield f"{text!r} is invalid for {field!r}"
            elif requirement.has_url:
                yield (
                    f"{text!r} depends on a URL, which no index can check or keep; "
                    "upload that dependency and name its version"
                )


def _address_faults(raw: RawMetadata) -> Iterator[str]:
    for field, addresses in (
        ("author-email", raw.get("author_email")),
        ("maintainer-email", raw.get("maintainer_email")),
    ):
        if addresses and not all(_is_address(address) for _, address in getaddresses([addresses])):
            yield f"{addresses!r} is invalid for {field!r}: not a list of mail addresses"


def _link_faults(raw: RawMetadata) -> Iterator[str]:
    links = [("home-page", raw.get("home_page")), ("download-url", raw.get("download_url"))]
    for label, url in raw.get("project_urls", {}).items():
        links.append(("project-url", url or "(nothing)"))
        if not label or len(label) > _LONGEST_LABEL:
            yield f"the label {label!r} of a 'project-url' must have 1 to {_LONGEST_LABEL} characters"
    for field, link in links:
        if link and not _is_link(link):
            yield f"{link!r} is invalid for {field!r}: not an http or https URL"


def _is_address(text: str) -> bool:
    return re.fullmatch(r"[^@\s]+@[^@\s]+", text) is not None


def _is_link(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc) and not re.search(r"\s", text)
