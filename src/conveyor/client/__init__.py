"""Talks to a store over HTTP, as a worker, a laptop or a script does; knows nothing of the store's inside.

Errors of the store come back as the errors they were raised as; everything foreign is wrapped in
``StoreUnreachable``. ``store.connect`` is the way in; each noun has its file, as in ``server.api``.
"""
