"""Whether a value conforms to a schema of our OpenAPI document: the part of JSON Schema that it uses."""

from __future__ import annotations

import re
from typing import Any

_TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "null": type(None),
}


def faults_of(value: Any, schema: dict[str, Any], components: dict[str, Any], place: str = "$") -> list[str]:
    """Every way in which the value differs from the schema."""
    if "$ref" in schema:
        return faults_of(value, components[schema["$ref"].rpartition("/")[2]], components, place)
    if "anyOf" in schema:
        found = [faults_of(value, one, components, place) for one in schema["anyOf"]]
        return [] if any(not faults for faults in found) else min(found, key=len)
    kind = schema.get("type")
    is_confused = kind == "integer" and isinstance(value, bool)
    if kind is not None and (not isinstance(value, _TYPES[kind]) or is_confused):
        return [f"{place} is {value!r:.60}, not of type {kind}"]
    if "enum" in schema and value not in schema["enum"]:
        return [f"{place} is {value!r:.60}, not one of {schema['enum']}"]
    if "pattern" in schema and not re.search(schema["pattern"], value):
        return [f"{place} is {value!r:.60}, not matching {schema['pattern']}"]
    if kind == "object":
        return _object_faults(value, schema, components, place)
    if kind == "array" and "items" in schema:
        return [
            fault
            for number, item in enumerate(value)
            for fault in faults_of(item, schema["items"], components, f"{place}[{number}]")
        ]
    return []


def _object_faults(
    value: dict[str, Any], schema: dict[str, Any], components: dict[str, Any], place: str
) -> list[str]:
    properties = schema.get("properties", {})
    faults = [f"{place}.{name} is missing" for name in schema.get("required", ()) if name not in value]
    if schema.get("additionalProperties") is False:
        faults += [f"{place}.{name} is not described" for name in value if name not in properties]
    for name, inner in properties.items():
        if name in value:
            faults += faults_of(value[name], inner, components, f"{place}.{name}")
    return faults
