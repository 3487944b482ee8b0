"""The published document: valid OpenAPI 3.1, and what it says is what is enforced."""

from typing import Any

import httpx
import pytest

openapi_spec_validator = pytest.importorskip("openapi_spec_validator")
jsonschema = pytest.importorskip("jsonschema")

EXPECTED = {
    ("post", "/v1/messages"),
    ("post", "/v1/messages/batch"),
    ("get", "/v1/messages/{message_id}"),
    ("get", "/v1/messages/{message_id}/timeline"),
    ("post", "/v1/messages/{message_id}/recall"),
    ("put", "/v1/users/{user_id}"),
    ("get", "/v1/users/{user_id}"),
    ("delete", "/v1/users/{user_id}"),
    ("post", "/v1/device-tokens"),
    ("put", "/v1/devices/{device_id}"),
    ("get", "/v1/devices/{device_id}"),
    ("delete", "/v1/devices/{device_id}"),
    ("get", "/v1/users"),
    ("get", "/v1/devices"),
    ("get", "/v1/devices/{device_id}/tokens"),
    ("get", "/v1/templates"),
    ("put", "/v1/templates/{name}"),
    ("get", "/v1/templates/{name}"),
    ("delete", "/v1/templates/{name}"),
    ("post", "/v1/templates/{name}/preview"),
    ("post", "/v1/template-preview"),
    ("get", "/v1/webhooks"),
    ("post", "/v1/webhooks"),
    ("delete", "/v1/webhooks"),
    ("get", "/v1/webhooks/{webhook_id}"),
    ("delete", "/v1/webhooks/{webhook_id}"),
    ("post", "/v1/webhooks/{webhook_id}/pause"),
    ("post", "/v1/webhooks/{webhook_id}/resume"),
    ("post", "/v1/webhooks/{webhook_id}/replay"),
    ("get", "/v1/webhooks/{webhook_id}/waiting"),
    ("get", "/v1/apps"),
    ("post", "/v1/apps"),
    ("get", "/v1/apps/{app_id}"),
    ("put", "/v1/apps/{app_id}"),
    ("get", "/v1/keys"),
    ("post", "/v1/keys"),
    ("delete", "/v1/keys/{key_id}"),
    ("get", "/v1/credentials"),
    ("get", "/v1/credentials/{path}"),
    ("put", "/v1/credentials/{path}"),
    ("delete", "/v1/credentials/{path}"),
    ("post", "/v1/credentials/{path}/check"),
    ("get", "/v1/blocks"),
    ("put", "/v1/blocks"),
    ("delete", "/v1/blocks"),
    ("post", "/v1/sessions"),
    ("get", "/v1/sessions"),
    ("post", "/v1/sessions/renew"),
    ("delete", "/v1/sessions"),
    ("get", "/v1/operators"),
    ("put", "/v1/operators/{login}"),
    ("delete", "/v1/operators/{login}"),
    ("post", "/v1/unmask"),
    ("get", "/v1/stats"),
    ("get", "/v1/deliveries"),
    ("get", "/v1/providers"),
    ("post", "/v1/providers/{path}/pause"),
    ("post", "/v1/providers/{path}/resume"),
    ("get", "/v1/dead-letters"),
    ("post", "/v1/dead-letters/{id}/replay"),
    ("get", "/v1/inbox"),
    ("post", "/v1/receipts"),
    ("post", "/v1/callbacks/sms/{provider}/{attempt_id}"),
    ("post", "/v1/callbacks/sms/{provider}/{app_id}/inbound"),
    ("get", "/v1/strategies"),
    ("get", "/v1/strategies/{name}"),
    ("get", "/v1/strategies/{name}/draft"),
    ("put", "/v1/strategies/{name}/draft"),
    ("post", "/v1/strategies/validate"),
    ("post", "/v1/strategies/{name}/publish"),
    ("get", "/v1/strategies/{name}/versions"),
    ("get", "/v1/strategies/{name}/versions/{number}"),
    ("post", "/v1/strategies/{name}/rollback"),
    ("delete", "/v1/strategies/{name}"),
    ("post", "/v1/strategies/simulate"),
    ("get", "/v1/learning"),
    ("put", "/v1/learning"),
    ("put", "/v1/learning/devices/{device_id}/{path}"),
    ("delete", "/v1/learning/devices/{device_id}/{path}"),
    ("put", "/v1/learning/segments/{segment}"),
    ("delete", "/v1/learning/segments/{segment}"),
    ("get", "/v1/facts"),
    ("get", "/v1/audit"),
    ("get", "/v1/books"),
    ("get", "/healthz"),
    ("get", "/readyz"),
    ("get", "/metrics"),
    ("get", "/openapi.json"),
    ("get", "/docs"),
}


@pytest.fixture
async def document(client: httpx.AsyncClient) -> dict[str, Any]:
    read: dict[str, Any] = (await client.get("/openapi.json", headers={"Authorization": ""})).json()
    return read


async def test_the_document_is_valid_openapi_3_1(document: dict[str, Any]) -> None:
    openapi_spec_validator.validate(document)
    assert document["openapi"].startswith("3.1")


async def test_the_document_lists_every_route_once(document: dict[str, Any]) -> None:
    listed = {(method, path) for path, methods in document["paths"].items() for method in methods}
    assert listed == EXPECTED
    names = [operation["operationId"] for methods in document["paths"].values() for operation in methods.values()]
    assert len(names) == len(set(names))


async def test_request_types_refuse_what_they_do_not_know(document: dict[str, Any]) -> None:
    for name in ("MessageIn", "To", "Notification", "Sms", "UserIn", "DeviceIn", "TokenIn", "ReceiptIn", "PublishIn"):
        assert document["components"]["schemas"][name]["additionalProperties"] is False, name


async def test_every_error_is_a_problem_and_every_login_is_named(document: dict[str, Any]) -> None:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            for status, answer in operation["responses"].items():
                if int(status) >= 400:
                    schema = answer["content"]["application/problem+json"]["schema"]
                    assert schema == {"$ref": "#/components/schemas/ProblemBody"}
            if path.startswith("/v1/"):
                assert operation["security"] or (method, path) == ("post", "/v1/sessions"), path
                assert {"500", "503", "429"} <= set(operation["responses"])


async def test_answers_and_problems_are_what_the_document_says(
    client: httpx.AsyncClient, document: dict[str, Any]
) -> None:
    def check(kind: str, body: Any) -> None:
        schema = {"$ref": f"#/components/schemas/{kind}", "components": document["components"]}
        jsonschema.Draft202012Validator(schema).validate(body)

    sample = {"message_id": "m", "to": {"user_ids": ["li"]}, "notification": {"title": "x", "badge": None}, "ttl": "2h"}
    check("MessageIn", sample)
    check("AcceptedOut", (await client.post("/v1/messages", json=sample)).json())
    check("BatchOut", (await client.post("/v1/messages/batch", json={"messages": [sample, {}]})).json())
    check("UserOut", (await client.put("/v1/users/li", json={"phone": "+8613800138012"})).json())
    device = {"user_id": "li", "platform": "ios", "tokens": [{"path": "apns", "kind": "device", "value": "abcdefgh"}]}
    check("DeviceIn", device)
    check("DeviceOut", (await client.put("/v1/devices/d-1", json=device)).json())
    check("DeviceTokenOut", (await client.post("/v1/device-tokens", json={"user_id": "li", "device_id": "d-1"})).json())
    check("InboxOut", (await client.get("/v1/inbox?user_id=li")).json())
    check("CountsOut", (await client.post("/v1/receipts", json={"receipts": []})).json())
    check("StrategiesOut", (await client.get("/v1/strategies")).json())
    check("VersionsOut", (await client.get("/v1/strategies/default/versions")).json())
    check("AuditPage", (await client.get("/v1/audit")).json())
    check("ReadyOut", (await client.get("/readyz")).json())
    check("ProblemBody", (await client.post("/v1/messages", json={"a": 1})).json())
    check("ProblemBody", (await client.get("/nothing")).json())
    with pytest.raises(jsonschema.ValidationError):
        check("MessageIn", {**sample, "colour": "red"})


#: What several people may change; each is guarded in the same way.
GUARDED = {
    ("put", "/v1/apps/{app_id}"),
    ("put", "/v1/blocks"),
    ("put", "/v1/credentials/{path}"),
    ("put", "/v1/operators/{login}"),
    ("put", "/v1/templates/{name}"),
    ("post", "/v1/webhooks"),
}


async def test_what_several_people_change_is_guarded_by_an_etag(document: dict[str, Any]) -> None:
    for method, path in GUARDED:
        operation = document["paths"][path][method]
        headers = {one["name"] for one in operation["parameters"] if one["in"] == "header"}
        assert {"If-Match", "If-None-Match"} <= headers, path
        assert "412" in operation["responses"], path
        good = [answer for status, answer in operation["responses"].items() if status.startswith("2")]
        assert all("ETag" in answer["headers"] for answer in good), path
