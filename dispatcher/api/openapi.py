"""The OpenAPI 3.1 document, made of the routes' contracts and the msgspec types they name.

msgspec writes ``additionalProperties: false`` for types that refuse unknown fields, so what is published is what is
enforced.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from litestar.handlers import HTTPRouteHandler

from dispatcher.api.contract import KEY, Contract
from dispatcher.errors import MEDIA_TYPE, Kind, ProblemBody

_REF = "#/components/schemas/{name}"
_PLACEHOLDER = re.compile(r"\{(\w+):str\}")
_PLAIN_BODY = {"type": "object", "additionalProperties": True}


def _operations(handlers: Iterable[HTTPRouteHandler]) -> Iterator[tuple[str, str, HTTPRouteHandler, Contract]]:
    for handler in handlers:
        for path in sorted(handler.paths):
            for method in sorted(handler.http_methods):
                yield path, method.lower(), handler, handler.opt[KEY]


def _types(contracts: Iterable[Contract]) -> list[Any]:
    found: list[Any] = [ProblemBody]
    for contract in contracts:
        found += [contract.body, contract.query]
        for answer in contract.answers.values():
            found += answer if isinstance(answer, tuple) else [None if isinstance(answer, str) else answer]
    return [kind for index, kind in enumerate(found) if kind is not None and kind not in found[:index]]


def describe(handlers: Iterable[HTTPRouteHandler], version: str) -> dict[str, Any]:
    """The whole document."""
    operations = list(_operations(handlers))
    types = _types(contract for _, _, _, contract in operations)
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
    schema_of = {id(kind): schema for kind, schema in zip(types, schemas, strict=True)}

    def schema(kind: Any) -> dict[str, Any]:
        index = types.index(kind)
        return schema_of[id(types[index])]

    paths: dict[str, dict[str, Any]] = {}
    for path, method, handler, contract in operations:
        shown = _PLACEHOLDER.sub(r"{\1}", path)
        paths.setdefault(shown, {})[method] = _operation(path, handler, contract, schema, components)
    used = {contract.tag for _, _, _, contract in operations}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Pushpath",
            "version": version,
            "description": "Gets one message of an IM product to one person's phone, by whichever path works.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in sorted(used)],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "api_key": {"type": "http", "scheme": "bearer", "description": "A backend's API key with scopes."},
                "operator": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An operator's session, from POST /v1/sessions, as far as the role reaches.",
                },
                "device_token": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "A phone's own token, from POST /v1/device-tokens.",
                },
                "signature": {"type": "apiKey", "in": "header", "name": "X-Twilio-Signature"},
            },
        },
    }


def _operation(
    path: str, handler: HTTPRouteHandler, contract: Contract, schema: Any, components: dict[str, Any]
) -> dict[str, Any]:
    name = getattr(handler.fn, "__name__", "operation")
    operation: dict[str, Any] = {
        "operationId": name,
        "summary": contract.summary,
        "description": handler.fn.__doc__ or "",
        "tags": [contract.tag],
        "parameters": [
            *_path_parameters(path),
            *_query_parameters(contract, schema, components),
            *(_CONDITIONS if contract.conditional else ()),
            *([_APP] if contract.scopes and contract.operators and not contract.any_app else []),
        ],
        "responses": {**_answers(contract, schema), **_problems(contract)},
        "security": _security(contract),
    }
    if contract.body is not None:
        shown = schema(contract.body)
        operation["requestBody"] = {
            "required": contract.body_required,
            "content": {media: {"schema": shown} for media in contract.media},
        }
    if contract.scopes:
        operation["x-scopes"] = sorted(contract.scopes)
    return operation


def _path_parameters(path: str) -> Iterator[dict[str, Any]]:
    for name in _PLACEHOLDER.findall(path):
        yield {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string", "pattern": "^[!-~]{1,128}$", "minLength": 1, "maxLength": 128},
        }


def _query_parameters(contract: Contract, schema: Any, components: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if contract.query is None:
        return
    shown = components[schema(contract.query)["$ref"].rpartition("/")[2]]
    for name, member in shown.get("properties", {}).items():
        yield {"name": name, "in": "query", "required": name in shown.get("required", ()), "schema": member}


_CONDITIONS = (
    {
        "name": "If-Match",
        "in": "header",
        "required": False,
        "description": "The ETag that was read, or * for whatever stands there: 412 where it has changed since.",
        "schema": {"type": "string"},
    },
    {
        "name": "If-None-Match",
        "in": "header",
        "required": False,
        "description": "Only *: 412 where there is one already.",
        "schema": {"type": "string", "const": "*"},
    },
)
_APP = {
    "name": "Pushpath-App",
    "in": "header",
    "required": False,
    "description": "For operators: which app is meant. May be left out by who sees exactly one.",
    "schema": {"type": "string", "pattern": "^[!-~]{1,128}$"},
}


def _answers(contract: Contract, schema: Any) -> dict[str, Any]:
    answers: dict[str, Any] = {}
    for status, kind in contract.answers.items():
        found: dict[str, Any] = {"description": _GOOD.get(status, "Done")}
        if isinstance(kind, str):
            found["content"] = {kind: {"schema": {"type": "string"}}}
        elif isinstance(kind, tuple):
            found["content"] = {"application/json": {"schema": {"anyOf": [schema(part) for part in kind]}}}
        elif kind is not None:
            found["content"] = {"application/json": {"schema": schema(kind)}}
        if (contract.tagged or contract.conditional) and kind is not None:
            found["headers"] = {"ETag": {"description": "For If-Match.", "schema": {"type": "string"}}}
        answers[str(status)] = found
    return answers


_GOOD = {200: "Done", 201: "Created", 202: "Accepted: it is in the ledger", 204: "Done; nothing to say"}


def _problems(contract: Contract) -> dict[str, Any]:
    statuses = {500, 503, *contract.problems}
    if contract.limited:
        statuses.add(429)
    if contract.conditional:
        statuses.add(412)
    if not contract.open and contract.signed is None:
        statuses |= {401, 403}
    if contract.body is not None:
        statuses |= {400, 413}
    if contract.body is not None or contract.query is not None:
        statuses |= {400, 422}
    titles: dict[int, list[str]] = {}
    for kind in Kind:
        titles.setdefault(kind.status, []).append(f"{kind.code}: {kind.title}")
    body = {MEDIA_TYPE: {"schema": {"$ref": _REF.format(name=ProblemBody.__name__)}}}
    retry = {"Retry-After": {"description": "Whole seconds.", "schema": {"type": "integer", "minimum": 1}}}
    return {
        str(status): {
            "description": "; ".join(titles[status]),
            "content": body,
            **({"headers": retry} if status in {429, 503} else {}),
        }
        for status in sorted(statuses)
    }


def _security(contract: Contract) -> list[dict[str, list[str]]]:
    security: list[dict[str, list[str]]] = []
    if contract.scopes:
        security.append({"api_key": []})
        if contract.operators:
            security.append({"operator": []})
    if contract.phones:
        security.append({"device_token": []})
    if contract.signed is not None:
        security.append({"signature": []})
    return security
