"""The API below ``/api/v1``: everything that the web page and the command line do, one module per noun.

Each module holds its handlers and a tuple ``ENDPOINTS``: the one table from which the routes and the OpenAPI
document are made. A handler is a plain function from a ``Call`` to an ``Answer``; it reads the request's
fields, calls one operation and renders its result. ``routes`` runs it in a thread and turns errors into
problem+json.
"""

from __future__ import annotations

from conveyor.server.api.routes import make_api

__all__ = ["make_api"]
