"""Client of a store over HTTP, for workers, laptops and scripts; knows nothing of the store's internals.

Errors of the store are raised again as the same classes; all other errors are wrapped in
``StoreUnreachable``. ``store.connect`` is the entry point; each noun has its file, as in ``server.api``.
"""
