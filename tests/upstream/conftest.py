"""What tests of the room ``upstream`` start from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from upstreams import RunningUpstream


@pytest.fixture
def index(upstream: RunningUpstream) -> RunningUpstream:
    """The other index; here an ``Upstream`` is what reads it."""
    return upstream
