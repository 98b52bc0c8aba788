"""The worker's side: jobs that package, test and promote, and the engine that carries them over crashes.

A worker reaches the store over HTTP only. Jobs are plain functions (``jobs.packaging``, ``jobs.testing``,
``jobs.promotion``) that a CI host may call one by one; ``carrying.runs`` tells the whole story of one commit
or tag; ``engine.engine`` is the only module that knows the durable-execution library. Importing it takes more
than a second, so nothing imports it, or ``carrying``, before it is needed.
"""
