"""Benchmarks, each measured against a baseline in the same run: `make bench`.

Each module is a benchmark with a function ``measure() -> Iterable[Figure]``. Absolute times say little on a
shared machine, so every figure is a ratio and states the conditions of its measurement. The makers of the
tests make wheels, stores and servers.
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent / "tests"))
