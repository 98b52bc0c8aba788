"""The ASGI shell: reads a request, hands values to one operation in a thread, writes the answer.

Async code lives here and in ``conveyor.upstream``, nowhere else. ``app`` is the composition root: which path
is answered by which module is decided there and can be read top to bottom. The hot paths (simple pages and
files) are bare ASGI; the API is a Starlette application below ``/api/v1``.

A handler leaves two notes for the access log in ``scope["state"]``: ``supplied_by`` (the index that the page
or file came from) and ``user`` (the caller's name).
"""
