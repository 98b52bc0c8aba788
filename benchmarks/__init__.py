"""What is fast, measured against a baseline in the same run: `make bench`.

One module is one benchmark with a function ``measure() -> Iterable[Figure]``. Absolute times say little on a
shared machine, so every figure is a ratio, and says on what it was measured. Wheels, stores and servers are
made by the makers of the tests.
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent / "tests"))
