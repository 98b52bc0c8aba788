"""Files against nginx, which sends the same bytes by ``sendfile``."""

from __future__ import annotations

import os
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.figures import Figure
from benchmarks.load import Target, rates_in_turn
from benchmarks.served import conditions, nginx, our_store
from conveyor.operations.care.initialisation import initialise_store
from conveyor.operations.care.opening import close_store, open_store
from distributions_made import make_wheel
from makers import make_settings
from readers import upload

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conveyor.settings import StoreSettings

SMALL_BYTES, LARGE_BYTES = 19_000, 200_000_000
LARGE_SECONDS = 3
"""Length of each round with the large file: thirty-two answers take a while."""
MB = 1e6


@dataclass(frozen=True)
class Stored:
    """A file of a store."""

    path: str
    """The path of its URL."""
    at: Path
    """The file with its bytes."""


def measure() -> Iterator[Figure]:
    """A wheel of 20 KB and one of 200 MB, both incompressible."""
    with tempfile.TemporaryDirectory(prefix="conveyor-bench-") as folder:
        settings = make_settings(Path(folder) / "store")
        small, large = _stored(settings)
        with our_store(settings.data) as ours, nginx({}, {"small": small.at, "large": large.at}) as yardstick:
            rates = rates_in_turn(Target(ours.url + small.path), Target(f"{yardstick.url}/small"))
            our_rate, baseline = (rate.requests_per_second for rate in rates)
            yield Figure("file of 20 KB", "requests/s", our_rate, "nginx", baseline, conditions())
            rates = rates_in_turn(
                Target(ours.url + large.path), Target(f"{yardstick.url}/large"), seconds=LARGE_SECONDS
            )
            our_rate, baseline = (rate.bytes_per_second / MB for rate in rates)
            yield Figure("file of 200 MB", "MB/s", our_rate, "nginx", baseline, conditions())


def _stored(settings: StoreSettings) -> list[Stored]:
    """The small and the large wheel, in a new store."""
    initialise_store(settings)
    store = open_store(settings)
    try:
        stored = []
        for name, size_bytes in (("small", SMALL_BYTES), ("large", LARGE_BYTES)):
            payload = {"payload/data.bin": os.urandom(size_bytes)}
            made = make_wheel(name, extra=payload, compression=zipfile.ZIP_STORED)
            upload(store, made)
            at = store.blobs.path(made.sha256)
            assert at is not None
            stored.append(Stored(f"/packages/{made.sha256}/{made.filename}", at))
        return stored
    finally:
        close_store(store)
