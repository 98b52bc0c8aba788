"""Rule 2 of the design when the power is cut: what was acknowledged is on the disk that is left.

The store lies on a real ext4 file system in an image. The power is cut by copying the image while uploads go
on: what was not synced is not in the copy. Mounting the copy replays its journal, as after a real cut.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import pytest

from faulty_disks import cut_power, make_image, mounted_image
from running_stores import children_of, running_store, serve_environment
from server.test_disk_faults import faults_of
from upload_streams import digests_on_page, upload_streams

if TYPE_CHECKING:
    from pathlib import Path

    from figures import Figures


@pytest.mark.parametrize("cuts", [3, pytest.param(25, marks=pytest.mark.torture)])
def test_nothing_acknowledged_is_lost_when_the_power_is_cut(
    tmp_path: Path, cuts: int, figures: Figures
) -> None:
    image, numbers = tmp_path / "image", count()
    make_image(image, size_bytes=256 * 1024**2)
    acknowledged: dict[str, str] = {}
    lost = 0
    # Its own first start: a copy of the prepared store is not synced to the disk.
    first_start = serve_environment()
    with (
        mounted_image(image, tmp_path / "disk") as disk,
        running_store(disk / "store", workers=2, environment=first_start) as store,
    ):
        for cut in range(cuts):
            with upload_streams(store.url, numbers=numbers) as streams:
                streams.wait_for(5 + 3 * (cut % 4))
                (disk / f"unsynced-{cut}").write_bytes(b"never synced")
                acknowledged |= streams.wait_for(1)
                copy = tmp_path / "copy"
                cut_power(image, copy, [store.process.pid, *children_of(store.process)])
            with mounted_image(copy, tmp_path / "found") as found:
                assert is_empty(found / f"unsynced-{cut}")  # it was a cut, and no clean end
                assert faults_of(found / "store") == []
                with running_store(found / "store") as again:
                    lost += len(acknowledged.items() - digests_on_page(again.url).items())
            copy.unlink()
    figures("power loss", cuts=cuts, acknowledged=len(acknowledged), lost=lost)
    assert lost == 0


def is_empty(path: Path) -> bool:
    """Whether a file is not there, or nothing is in it."""
    return not path.exists() or not path.read_bytes()
