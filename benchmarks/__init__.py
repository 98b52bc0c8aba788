"""What is fast, measured against a baseline in the same run: `make bench`.

One module is one benchmark with a function ``measure() -> Iterable[Figure]``. Absolute times say little on a
shared machine, so every figure is a ratio, and says on what it was measured.
"""
