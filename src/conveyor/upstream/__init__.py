"""Reads another index: its pages, facts about its files, parts of files, and whole files.

It only asks and parses; ``operations.indexes.mirror`` decides which results are stored. There is one
``Upstream`` per process. Every foreign error is raised as ``UpstreamFailed``, never with credentials in its
text.
"""

from conveyor.upstream.index import Body, Part, Upstream

__all__ = ["Body", "Part", "Upstream"]
