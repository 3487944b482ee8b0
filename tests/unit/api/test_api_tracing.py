"""The request's own span: whose trace it joins, who decides about it, and that strangers leave none."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from dispatcher.domain.trace import Attribute, Span, unpack
from dispatcher.pipeline.traces import Traces

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Kept:
    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.record = self.spans.append

    async def close(self) -> None:
        """Nothing waits."""


@pytest.fixture
def kept(core: Any) -> Kept:
    kept = Kept()
    core.traces = Traces(kept, ratio=1, dice=lambda bits: 2 ** (bits - 1))
    return kept


@pytest.fixture
async def traced(kept: Kept, open_door: Callable[..., httpx.AsyncClient]) -> AsyncIterator[httpx.AsyncClient]:
    async with open_door({"Authorization": "Bearer all"}) as client:
        yield client


def message(message_id: str = "cm-1", **more: Any) -> dict[str, Any]:
    return {"message_id": message_id, "to": {"user_ids": ["li"]}, "data": {}, **more}


def header(flags: str = "01") -> dict[str, str]:
    return {"traceparent": f"00-{TRACE}-{CALLER}-{flags}"}


async def test_a_dispatch_joins_its_callers_trace(traced: httpx.AsyncClient, kept: Kept, core: Any) -> None:
    assert (await traced.post("/v1/messages", json=message(), headers=header())).status_code == 202
    (span,) = kept.spans
    assert span.parent is not None
    assert (f"{span.context.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE, CALLER)
    assert (span.name, span.attributes[Attribute.STATUS], span.error) == ("POST /v1/messages", 202, None)
    assert unpack(core.messages["im", "cm-1"][0].trace) == span.context


@pytest.mark.parametrize("headers", [{}, {"traceparent": "nonsense"}])
async def test_without_one_it_begins_its_own(traced: httpx.AsyncClient, kept: Kept, headers: dict[str, str]) -> None:
    await traced.post("/v1/messages", json=message(), headers=headers)
    assert kept.spans[0].parent is None


async def test_the_callers_no_is_heeded(traced: httpx.AsyncClient, kept: Kept, core: Any) -> None:
    await traced.post("/v1/messages", json=message(), headers=header("00"))
    assert kept.spans == []
    assert core.messages["im", "cm-1"][0].trace is None


async def test_only_a_share_is_traced_where_the_caller_does_not_say(
    traced: httpx.AsyncClient, kept: Kept, core: Any, open_door: Callable[..., httpx.AsyncClient]
) -> None:
    core.traces = Traces(kept, ratio=0.5, dice=lambda bits: 2 ** (bits - 1))  # the dice fall on a half
    async with open_door({"Authorization": "Bearer all"}) as client:
        await client.post("/v1/messages", json=message("a"))
        assert kept.spans == []
        await client.post("/v1/messages", json=message("b"), headers=header())
    assert len(kept.spans) == 1


async def test_messages_of_a_batch_stand_under_one_request(traced: httpx.AsyncClient, kept: Kept, core: Any) -> None:
    batch = {"messages": [message("a"), {"message_id": "bad"}, message("b")]}
    await traced.post("/v1/messages/batch", json=batch, headers=header())
    (span,) = kept.spans
    assert {unpack(core.messages["im", one][0].trace) for one in ("a", "b")} == {span.context}


async def test_a_repeat_is_the_same_message_whoever_traces_it(traced: httpx.AsyncClient, kept: Kept) -> None:
    first = await traced.post("/v1/messages", json=message(), headers=header())
    again = await traced.post("/v1/messages", json=message())
    assert (first.status_code, again.status_code) == (202, 200)


async def test_refusals_are_told_and_strangers_leave_nothing(traced: httpx.AsyncClient, kept: Kept) -> None:
    await traced.post("/v1/messages", json={"message_id": "x"}, headers=header())
    await traced.post("/v1/messages", json=message(), headers={**header(), "Authorization": "Bearer nobody"})
    (span,) = kept.spans
    assert (span.attributes[Attribute.STATUS], span.error) == (422, None)


async def test_off_nothing_is_read(client: httpx.AsyncClient, core: Any) -> None:
    assert (await client.post("/v1/messages", json=message(), headers=header())).status_code == 202
    assert core.messages["im", "cm-1"][0].trace is None
