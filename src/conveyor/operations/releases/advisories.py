"""Advisories: take in what is known of vulnerable packages. People import them; the store asks nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conveyor.catalog.releases.advisories import put_advisory, states_of_advisories
from conveyor.domain.people.access import may_administer
from conveyor.domain.releases.advisories import TakenAdvisories, about_projects
from conveyor.operations.store.store import record_change

if TYPE_CHECKING:
    from conveyor.domain.people.access import Identity
    from conveyor.domain.releases.advisories import NewAdvisories
    from conveyor.operations.store.store import Store


def import_advisories(store: Store, identity: Identity, asked: NewAdvisories) -> TakenAdvisories:
    """Keep advisories, each in its newest state; a withdrawn one stays, and holds no longer.

    Raises:
        Unauthorized, Forbidden: the caller does not administer the store.
    """
    # 1. the caller's right
    may_administer(identity)
    newest = {}
    for one in sorted(asked.advisories, key=lambda one: one.modified_at):
        newest[one.id] = one
    with record_change(store, actor=identity.name) as change:
        # 2. what is news
        known = states_of_advisories(change.connection, newest)
        news = [one for one in newest.values() if one.modified_at > known.get(one.id, "")]
        # 3. rows and event
        for one in news:
            put_advisory(change.connection, one, about_projects(one).values(), is_new=one.id not in known)
        new = sum(one.id not in known for one in news)
        taken = TakenAdvisories(new, len(news) - new, len(newest) - len(news))
        if news:
            change.event(
                "import-advisories", detail={"new": taken.new, "changed": taken.changed, "withdrawn": [
                    one.id for one in news if one.withdrawn
                ][:100]},
            )  # fmt: skip
    return taken
