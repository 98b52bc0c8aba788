"""Reads another index: its pages, facts about its files, parts of them, and whole files.

Only asks and parses; what is kept is decided by ``operations.indexes.mirror``. There is one ``Upstream`` per
process. Every foreign error leaves as ``UpstreamFailed``, and never with credentials in its text.
"""

from conveyor.upstream.index import Body, Part, Upstream

__all__ = ["Body", "Part", "Upstream"]
