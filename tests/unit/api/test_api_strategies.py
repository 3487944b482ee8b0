"""Strategies and operations over HTTP."""

from typing import Any

import httpx
import msgspec
import pytest

YAML = {"Content-Type": "application/yaml"}


async def test_a_published_document_comes_as_json_or_as_written(client: httpx.AsyncClient) -> None:
    shown = await client.get("/v1/strategies/default")
    assert (shown.json(), shown.headers["etag"]) == ({"strategy": "default"}, '"e1"')
    written = await client.get("/v1/strategies/default", headers={"Accept": "application/yaml"})
    assert (written.text, written.headers["content-type"]) == ("strategy: default\n", "application/yaml")
    assert (await client.get("/v1/strategies/none")).status_code == 404
    assert (await client.get("/v1/strategies/default/draft")).status_code == 404


async def test_a_draft_goes_from_stored_to_published_and_is_gone_then(client: httpx.AsyncClient) -> None:
    document = "strategy: default\ngrace: 20s\n"
    stored = await client.put("/v1/strategies/default/draft", content=document, headers={**YAML, "If-Match": '"e1"'})
    assert stored.status_code == 200
    assert (await client.get("/v1/strategies/default/draft")).headers["etag"] == stored.headers["etag"]
    assert (await client.get("/v1/strategies")).json()["strategies"][0]["draft"] is True
    published = await client.post("/v1/strategies/default/publish")
    assert published.json() == {"name": "default", "version": 2, "percent": 100}
    assert (await client.get("/v1/strategies/default/draft")).status_code == 404
    versions = (await client.get("/v1/strategies/default/versions")).json()["versions"]
    assert [(version["version"], version["state"]) for version in versions] == [(2, "live")]
    assert (await client.get("/v1/strategies/default/versions/2")).json()["grace"] == "20s"
    assert (await client.get("/v1/strategies/default/versions/9")).status_code == 404
    assert (await client.get("/v1/strategies/default/versions/x")).status_code == 404


async def test_if_match_is_asked_for_after_the_document_was_judged(client: httpx.AsyncClient) -> None:
    async def put(document: str, if_match: str | None) -> int:
        headers = {**YAML, **({"If-Match": if_match} if if_match is not None else {})}
        return (await client.put("/v1/strategies/default/draft", content=document, headers=headers)).status_code

    assert await put("rules: 1", None) == 422
    assert await put("rules: 1", '"stale"') == 422
    assert await put("strategy: other", '"e1"') == 422
    assert await put("strategy: default", None) == 428
    assert await put("strategy: default", '"stale"') == 412
    assert await put("strategy: default", 'W/"e1"') == 412
    assert await put("strategy: default", '"x", "e1"') == 200
    assert await put("strategy: default", '"e1"') == 412, "there is a draft now"
    assert await put("strategy: default", "*") == 200


async def test_a_new_name_needs_no_if_match_and_has_nothing_to_match(client: httpx.AsyncClient) -> None:
    stale = await client.put("/v1/strategies/calls/draft", content="strategy: calls", headers={**YAML, "If-Match": "*"})
    assert stale.status_code == 412
    assert (await client.put("/v1/strategies/calls/draft", json={"strategy": "calls"})).status_code == 200


async def test_validation_names_line_and_column(client: httpx.AsyncClient) -> None:
    bad = await client.post("/v1/strategies/validate", content="rules: []", headers=YAML)
    assert (bad.status_code, bad.json()["valid"]) == (200, False)
    assert bad.json()["errors"] == [{"line": 1, "column": 1, "message": "write strategy: NAME"}]
    good = await client.post("/v1/strategies/validate", json={"strategy": "default"})
    assert good.json() == {"valid": True, "errors": []}


@pytest.mark.parametrize(
    ("content", "media"),
    [
        (b"", "application/yaml"),
        (b"a: \xff", "application/yaml"),
        (b"a: '\0'", "application/yaml"),
        (b"{", "application/json"),
        (b"[1]", "application/json; charset=utf-8"),
        (b"{" * 9_000, "application/json"),
    ],
)
async def test_a_document_that_cannot_be_read_is_4xx(client: httpx.AsyncClient, content: bytes, media: str) -> None:
    answer = await client.post("/v1/strategies/validate", content=content, headers={"Content-Type": media})
    assert answer.status_code in {400, 422}


async def test_publishing_without_a_draft_is_409_and_of_no_strategy_404(client: httpx.AsyncClient) -> None:
    assert (await client.post("/v1/strategies/default/publish", json={})).status_code == 409
    assert (await client.post("/v1/strategies/none/publish")).status_code == 404
    for percent in (0, 101, "50"):
        answer = await client.post("/v1/strategies/default/publish", json={"percent": percent})
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "percent")


async def test_the_audit_is_paged_newest_first(client: httpx.AsyncClient) -> None:
    first = (await client.get("/v1/audit?limit=3")).json()
    assert [entry["subject"] for entry in first["entries"]] == ["u5", "u4", "u3"]
    rest = (await client.get(f"/v1/audit?limit=3&before={first['next']}")).json()
    assert ([entry["subject"] for entry in rest["entries"]], rest["next"]) == (["u2", "u1"], None)


async def test_facts_and_books_are_the_cores(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/facts")).json()["facts"][0]["name"] == "message.class"
    assert (await client.get("/v1/books")).json()["balanced"] is True


async def test_readiness_names_the_part_that_is_away(client: httpx.AsyncClient, core: Any) -> None:
    assert (await client.get("/readyz")).json()["checks"] == {"hot_store": "ok", "ledger": "ok", "broker": "ok"}
    core.faults["ledger"] = "connection refused"
    answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()["code"]) == (503, "not_ready")
    assert "ledger: connection refused" in answer.json()["detail"]
    assert (await client.get("/healthz")).status_code == 200


async def test_metrics_count_requests_by_template_and_never_by_path(client: httpx.AsyncClient) -> None:
    await client.get("/v1/messages/some-private-id")
    await client.get("/no/such/address")
    text = (await client.get("/metrics")).text
    assert 'route="/v1/messages/{message_id:str}",status="404"' in text.replace("{message_id}", "{message_id:str}")
    assert "some-private-id" not in text
    assert "no/such" not in text
    assert "pushpath_pipeline_late_sends_total" in text


async def test_the_docs_page_loads_nothing_and_shows_every_route(client: httpx.AsyncClient) -> None:
    page = await client.get("/docs")
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert "<script" not in page.text
    assert "//" not in page.text.replace("https?://", "")
    for path in msgspec.json.decode((await client.get("/openapi.json")).content)["paths"]:
        assert path in page.text
