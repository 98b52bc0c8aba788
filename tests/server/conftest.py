"""What tests of mirrors start from: ``upstream``, ``clock``, and a ``mirror`` of the one by the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mirrors import Clock, mirroring

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator
    from pathlib import Path

    from readers import Reader
    from upstreams import RunningUpstream


@pytest.fixture
def clock() -> Clock:
    """The clock of ``mirror``; it stands."""
    return Clock()


@pytest.fixture
def mirror(
    runner: asyncio.Runner, tmp_path: Path, upstream: RunningUpstream, clock: Clock
) -> Iterator[Reader]:
    """The reading side of a new store that mirrors ``upstream``."""
    reading = mirroring(tmp_path, upstream, clock=clock)
    yield runner.run(reading.__aenter__())
    runner.run(reading.__aexit__(None, None, None))
