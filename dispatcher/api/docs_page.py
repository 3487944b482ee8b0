"""The OpenAPI document as one page: no script, no font, no host but ours."""

import json
from collections.abc import Iterator
from html import escape
from typing import Any

_STYLE = """
:root{color-scheme:light dark;--line:#8884;--soft:#8882}
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem}h2{margin-top:2.5rem;border-bottom:1px solid var(--line)}
details{border:1px solid var(--line);border-radius:6px;margin:.5rem 0;padding:.4rem .8rem}
summary{cursor:pointer}summary code{font-weight:600}
code,pre{font:13px/1.45 ui-monospace,monospace}pre{background:var(--soft);padding:.6rem;border-radius:6px;overflow:auto}
.verb{display:inline-block;min-width:4.2rem}table{border-collapse:collapse;width:100%}
td,th{text-align:left;border-top:1px solid var(--line);padding:.25rem .6rem .25rem 0;vertical-align:top}
"""


def render(document: dict[str, Any]) -> bytes:
    """The page."""
    info = document["info"]
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        "<meta name=viewport content='width=device-width,initial-scale=1'>",
        f"<title>{escape(info['title'])} API</title><style>{_STYLE}</style>",
        f"<h1>{escape(info['title'])} API {escape(info['version'])}</h1><p>{escape(info['description'])}</p>",
        "<p>Errors are <code>application/problem+json</code>. As data: <a href='/openapi.json'>openapi.json</a>.</p>",
    ]
    for tag in document["tags"]:
        parts.append(f"<h2>{escape(tag['name'])}</h2>")
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                if tag["name"] in operation["tags"]:
                    parts.extend(_operation(path, method, operation))
    parts.append("<h2>Types</h2>")
    for name, schema in sorted(document["components"]["schemas"].items()):
        parts.append(f"<details id='{escape(name)}'><summary><code>{escape(name)}</code></summary>{_json(schema)}")
        parts.append("</details>")
    return "".join([*parts, "</html>"]).encode()


def _json(value: Any) -> str:
    return f"<pre>{escape(json.dumps(value, indent=2, ensure_ascii=False))}</pre>"


def _operation(path: str, method: str, operation: dict[str, Any]) -> Iterator[str]:
    yield f"<details><summary><code class=verb>{method.upper()}</code> <code>{escape(path)}</code> "
    yield f"{escape(operation['summary'])}</summary><p>{escape(operation['description'])}</p>"
    if operation.get("x-scopes"):
        yield f"<p>API key with scope {escape(' or '.join(operation['x-scopes']))}.</p>"
    if {"device_token": []} in operation["security"]:
        yield "<p>Device tokens too.</p>"
    if operation["parameters"]:
        yield "<table><tr><th>Parameter<th>In<th>Type"
        for parameter in operation["parameters"]:
            name, where = escape(parameter["name"]), escape(parameter["in"])
            yield f"<tr><td><code>{name}</code><td>{where}<td><code>{escape(json.dumps(parameter['schema']))}</code>"
        yield "</table>"
    if "requestBody" in operation:
        for media, body in operation["requestBody"]["content"].items():
            yield f"<p>Body, <code>{escape(media)}</code>: {_type(body['schema'])}</p>"
    yield "<table><tr><th>Status<th>Meaning<th>Body"
    for status, answer in operation["responses"].items():
        bodies = ", ".join(_type(body["schema"]) for body in answer.get("content", {}).values())
        yield f"<tr><td>{status}<td>{escape(answer['description'])}<td>{bodies}"
    yield "</table></details>"


def _type(schema: dict[str, Any]) -> str:
    name = schema.get("$ref", "").rpartition("/")[2]
    if name:
        return f"<a href='#{escape(name)}'><code>{escape(name)}</code></a>"
    if "anyOf" in schema:
        return " or ".join(_type(part) for part in schema["anyOf"])
    return f"<code>{escape(str(schema.get('type', 'any')))}</code>"
