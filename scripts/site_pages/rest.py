"""All operations of the REST API, made from its OpenAPI document."""

from collections.abc import Iterator
from typing import Any, cast

from taskplane.gateway.application import application
from taskplane.gateway.callers import Callers
from taskplane.gateway.services import Services

JSON = "application/json"


def operations() -> str:
    """Return a section for each operation, in Markdown."""
    # The document is made from the routes alone, without services.
    document = application(cast("Services", None), Callers()).openapi()
    return "\n".join(_lines(document))


def _lines(document: dict[str, Any]) -> Iterator[str]:
    schemas = document["components"]["schemas"]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"\n### {method.upper()} {path}\n"
            yield f"{operation.get('summary', '')}.\n"
            if description := operation.get("description"):
                yield f"{description}\n"
            rows = [*_parameters(operation), *_body_fields(operation, schemas)]
            if rows:
                yield "| name | in | type | meaning |\n| --- | --- | --- | --- |"
                yield from rows
                yield ""
            yield f"Responses: {', '.join(operation['responses'])}."


def _parameters(operation: dict[str, Any]) -> Iterator[str]:
    for each in operation.get("parameters", []):
        needed = " (required)" if each.get("required") and each["in"] != "path" else ""
        yield f"| `{each['name']}`{needed} | {each['in']} | {_type(each['schema'])} | {_cell(each)} |"


def _body_fields(operation: dict[str, Any], schemas: dict[str, Any]) -> Iterator[str]:
    schema = operation.get("requestBody", {}).get("content", {}).get(JSON, {}).get("schema", {})
    for option in [schema, *schema.get("anyOf", [])]:
        model = schemas.get(option.get("$ref", "").rpartition("/")[2], option)
        for name, field in model.get("properties", {}).items():
            needed = " (required)" if name in model.get("required", []) else ""
            yield f"| `{name}`{needed} | body | {_type(field)} | {_cell(field)} |"


def _type(schema: dict[str, Any]) -> str:
    if reference := schema.get("$ref"):
        return str(reference.rpartition("/")[2])
    if options := schema.get("anyOf"):
        return " or ".join(dict.fromkeys(_type(each) for each in options if each.get("type") != "null"))
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return str(schema.get("type", "any"))


def _cell(described: dict[str, Any]) -> str:
    return str(described.get("description", "")).replace("\n", " ").replace("|", "\\|")
