"""Each rule of the public index is ours too, or differs for a reason that is written down."""

from __future__ import annotations

import re

import pytest

from conveyor.domain.distributions.archives import ArchiveLimits
from conveyor.domain.distributions.reading import Digests, LibraryChecks, UploadForm, read_distribution
from conveyor.errors import InvalidDistribution
from conveyor.operations.store.rendering import fault_of
from conveyor.operations.store.signatures import signature_fault
from domain.public_rules import PUBLIC_RULES, RULES_OF_A_FILE, PublicRule


@pytest.mark.parametrize("row", [pytest.param(row, id=row.name) for row in PUBLIC_RULES])
def test_a_file_is_accepted_or_refused_by_the_rules_of_its_row(row: PublicRule) -> None:
    made = row.made
    try:
        read_distribution(
            made.stream,
            filename=made.filename,
            size_bytes=len(made.content),
            digests=Digests(made.sha256, made.sha256, made.sha256),
            form=UploadForm({**made.form, **row.form}),
            limits=ArchiveLimits(),
            checks=LibraryChecks(fault_of, signature_fault),
        )
        refused_by = set()
    except InvalidDistribution as error:
        found = [re.search(r" \[([a-z-]+)\]$", fault) for fault in error.faults]
        refused_by = {match[1] for match in found if match}
        assert None not in found
    assert refused_by == row.rules_here


def test_every_rule_about_a_file_has_its_row() -> None:
    assert {rule for row in PUBLIC_RULES for rule in row.rules_here} == RULES_OF_A_FILE
    assert len({row.name for row in PUBLIC_RULES}) == len(PUBLIC_RULES)
