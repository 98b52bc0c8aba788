"""One process of the stress on garbage collection: ``collect_and_upload.py DATA ROLE NUMBER``.

An ``upload``-er stores each file first as garbage and then uploads the same bytes, so that it always reuses a
blob that a collector is about to remove; what was acknowledged it writes, line by line, to its own file. The
garbage lies there for a few uploads, so that collectors find some however quick an upload is. A ``mirror``
does the same with mirrored files. A ``collect``-or takes everything that no row names, whatever
its age: nothing but the exclusion protects an upload. All of them go on until they are killed.
"""

from __future__ import annotations

import sys
from collections import deque
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from conveyor.errors import Conflict
from conveyor.operations.care import garbage
from conveyor.operations.care.opening import open_store
from distributions_made import make_wheel
from makers import make_settings
from operations.stores_damaged import mirror
from releases_made import publish

if TYPE_CHECKING:
    from conveyor.operations.store.store import Store
    from distributions_made import Made

GARBAGE_AT_ONCE = 5
"""Files of one adder that lie there as garbage."""


def main(data: Path, role: str, number: int) -> None:
    """Work until killed."""
    store = open_store(make_settings(data))
    if role == "collect":
        keep_collecting(store)
    keep_adding(store, role, number, data.with_name(f"acknowledged-{number}"))


def keep_collecting(store: Store) -> None:
    """Remove whatever no row names, even what is written this moment."""
    garbage.LEAST_GRACE_SECONDS = -3600.0
    while True:
        try:
            garbage.collect_garbage(store, grace_seconds=-3600.0)
        except Conflict:  # another collector is at it
            continue


def keep_adding(store: Store, role: str, number: int, acknowledged: Path) -> None:
    """Store new files, each of which is garbage first."""
    waiting: deque[Made] = deque()
    with acknowledged.open("a") as file:
        for turn in count():
            # of a mirror, each a project of its own: a page that names one file takes back the others
            ahead = (
                make_wheel(f"mirrored-{number}-{turn}", "1.0")
                if role == "mirror"
                else make_wheel(f"uploaded-{number}", str(turn))
            )
            store.blobs.put(ahead.content)
            waiting.append(ahead)
            if len(waiting) < GARBAGE_AT_ONCE:
                continue
            made = waiting.popleft()
            (mirror if role == "mirror" else publish)(store, made)
            file.write(f"{made.sha256}\n")
            file.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
