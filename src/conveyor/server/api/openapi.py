"""The OpenAPI 3.1 document of the API, generated from the table of endpoints, which also makes the routes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from conveyor.client.problems import Problem
from conveyor.domain.words.names import ProjectName, VersionNumber
from conveyor.domain.words.records import Record, Text, records_in, reference_to, schema_of
from conveyor.server.api.endpoints import DocumentOf, ListOf

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conveyor.domain.words.records import Schema
    from conveyor.server.api.endpoints import Endpoint

_PARAMETER = re.compile(r"\{([a-z0-9_]+)\}")
_IN_PATH = {"project": ProjectName, "version": VersionNumber}
_NO_CREDENTIALS: dict[str, list[str]] = {}


def openapi_document(endpoints: Sequence[Endpoint], *, version: str) -> dict[str, Any]:
    """The document; ``version`` is that of the product."""
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        paths.setdefault(f"/api/v1{endpoint.path}", {})[endpoint.method.lower()] = _operation(endpoint)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Conveyor store",
            "version": version,
            "description": "What the web page and the command line do. Errors are problem+json (RFC 9457).",
        },
        "paths": paths,
        "components": {
            "schemas": _components(endpoints),
            "securitySchemes": {
                "basic": {
                    "type": "http",
                    "scheme": "basic",
                    "description": "user and password, or the user __token__ and a token",
                },
                "bearer": {"type": "http", "scheme": "bearer", "description": "a token"},
            },
        },
    }


def _components(endpoints: Sequence[Endpoint]) -> dict[str, Schema]:
    """The schema of every record in requests and answers, by the name of its class."""
    given = [one.body for one in endpoints]
    answers = [answer for one in endpoints for answer in one.answers.values()]
    told = [Problem, *(one.record if isinstance(one, ListOf) else one for one in answers)]
    return {
        part.__name__: schema_of(part, is_told=is_told)
        for records, is_told in ((given, False), (told, True))
        for record in records
        if isinstance(record, type)
        for part in records_in(record)
    }


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": endpoint.operation_id,
        "summary": endpoint.summary,
        "tags": [endpoint.path.split("/")[1]],
        "security": _security(endpoint),
        "responses": {
            **{str(status): _response(schema) for status, schema in endpoint.answers.items()},
            "default": {
                "description": "An error, with what to do next.",
                "content": {"application/problem+json": {"schema": reference_to(Problem)}},
            },
        },
    }
    parameters = _parameters(endpoint)
    if parameters:
        operation["parameters"] = parameters
    if endpoint.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": _schema(endpoint.body)}},
        }
    if endpoint.document is not None:
        operation["requestBody"] = {"required": True, "content": {endpoint.document.media_type: {}}}
    return operation


def _parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    in_path = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": _schema(endpoint.in_path.get(name, _IN_PATH.get(name, Text))),
        }
        for name in _PARAMETER.findall(endpoint.path)
    ]
    in_query = [
        {"name": name, "in": "query", "required": name in endpoint.required_query, "schema": _schema(schema)}
        for name, schema in endpoint.query.items()
    ]
    return in_path + in_query


def _security(endpoint: Endpoint) -> list[dict[str, list[str]]]:
    """Reading works without credentials where the index is public."""
    known: list[dict[str, list[str]]] = [{"basic": []}, {"bearer": []}]
    return [_NO_CREDENTIALS, *known] if endpoint.right in (None, "read") else known


def _response(answer: object) -> dict[str, Any]:
    if answer is None:
        return {"description": "There is nothing to say."}
    if isinstance(answer, DocumentOf):
        return {"description": "As asked.", "content": {answer.media_type: {}}}
    return {"description": "As asked.", "content": {"application/json": {"schema": _schema(answer)}}}


def _schema(asked: object) -> Schema:
    if isinstance(asked, ListOf):
        return asked.schema()
    if isinstance(asked, type) and issubclass(asked, Record):
        return reference_to(asked)
    return schema_of(asked)
