"""Archives of a seeded fuzzer: each is refused, or every reader sees in it what the store saw.

A failure names its seed: ``mutated_zip(Random(seed))`` makes the same archive again.
"""

from __future__ import annotations

import tracemalloc
from contextlib import contextmanager
from random import Random
from typing import TYPE_CHECKING

import pytest

from fuzz.archive_readers import (
    check_installing,
    check_tar,
    check_unpacking,
    check_zip,
    tar_archive,
    zip_contents,
)
from fuzz.tar_mutations import mutated_tar
from fuzz.zip_mutations import mutated_wheel, mutated_zip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

KINDS = {
    "zip": (mutated_zip, check_zip),
    "wheel": (mutated_wheel, check_zip),
    "tar": (mutated_tar, check_tar),
}
SHARE = 5_000
"""Archives of one kind in each round of ``make test``."""
ROUND, ROUNDS = 10_000, 10
"""Archives of a kind in a long round, and how many such rounds: 300,000 archives in all."""
MEMORY_BYTES = 8 * 1024 * 1024
"""More than any of these archives of some kilobytes may need."""


@contextmanager
def naming_seed(seed: int) -> Iterator[None]:
    """Add the seed to whatever goes wrong."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"with seed {seed}")
        raise


def accepted_of(kind: str, seeds: range) -> int:
    """How many archives are accepted; each accepted one is held against the other readers."""
    mutated, check = KINDS[kind]
    accepted = 0
    for seed in seeds:
        with naming_seed(seed):
            accepted += check(mutated(Random(seed)))  # noqa: S311 - repeatable, not secret
    return accepted


@pytest.mark.parametrize("kind", KINDS)
def test_archive_is_refused_or_read_as_everybody_reads_it(kind: str) -> None:
    accepted = accepted_of(kind, range(SHARE))
    assert SHARE * 0.05 < accepted < SHARE * 0.7, "a fuzzer that makes only one sort of archive finds nothing"


@pytest.mark.torture
@pytest.mark.timeout(600)
@pytest.mark.parametrize("number", range(ROUNDS))
@pytest.mark.parametrize("kind", KINDS)
def test_archives_of_long_rounds_are_refused_or_read_as_everybody_reads_them(kind: str, number: int) -> None:
    first = 1_000_000 + number * ROUND
    assert accepted_of(kind, range(first, first + ROUND))


@pytest.mark.parametrize(
    ("mutated", "read"), [(mutated_zip, zip_contents), (mutated_tar, tar_archive)], ids=["zip", "tar"]
)
def test_memory_does_not_grow_with_what_an_archive_says(
    mutated: Callable[[Random], bytes], read: Callable[[bytes], object]
) -> None:
    tracemalloc.start()
    try:
        for seed in range(400):
            content = mutated(Random(seed))  # noqa: S311 - repeatable, not secret
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            read(content)
            with naming_seed(seed):
                assert tracemalloc.get_traced_memory()[1] - before < MEMORY_BYTES
    finally:
        tracemalloc.stop()


def unpacked(seeds: range, folder: Path) -> int:
    """How many accepted tars GNU tar unpacked in the same way."""
    count = 0
    for seed in seeds:
        content = mutated_tar(Random(seed))  # noqa: S311 - repeatable, not secret
        if tar_archive(content) is not None:
            with naming_seed(seed):
                check_unpacking(content, folder / str(seed))
            count += 1
    return count


def installed(seeds: range, folder: Path) -> int:
    """How many accepted wheels uv installed in the same way."""
    count = 0
    for seed in seeds:
        content = mutated_wheel(Random(seed))  # noqa: S311 - repeatable, not secret
        if zip_contents(content) is not None:
            with naming_seed(seed):
                check_installing(content, folder / str(seed))
            count += 1
    return count


def test_accepted_archives_unpack_with_gnu_tar_and_install_with_uv(tmp_path: Path) -> None:
    assert unpacked(range(150), tmp_path)
    assert installed(range(60), tmp_path / "wheels")


@pytest.mark.torture
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("number", range(4))
def test_many_accepted_archives_unpack_with_gnu_tar_and_install_with_uv(tmp_path: Path, number: int) -> None:
    first = 2_000_000 + number * 5_000
    assert unpacked(range(first, first + 5_000), tmp_path)
    assert installed(range(first, first + 1_000), tmp_path / "wheels")
