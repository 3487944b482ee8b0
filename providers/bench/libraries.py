"""The libraries users would take instead, each at its best."""

import asyncio
import io
import ssl
import warnings
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import pycurl

from providers.bench.cost import cost_of
from providers.bench.ours import DELIVERY, TEXT
from providers.bench.simulators import Ends
from providers.sandbox import load_credentials


async def aioapns_cost(ends: Ends, count: int) -> float:
    import aioapns
    from aioapns.connection import APNsProductionClientProtocol

    split = urlsplit(ends.apns_url)
    own = load_credentials(ends.directory).apns
    context = ssl.create_default_context(cafile=ends.ca_file)
    context.set_alpn_protocols(["h2"])
    client = aioapns.APNs(
        key=own.key_pem, key_id=own.key_id, team_id=own.team_id, topic=own.topic, ssl_context=context, max_connections=1
    )
    client.pool.protocol_class = type(
        "Loopback", (APNsProductionClientProtocol,), {"APNS_SERVER": split.hostname, "APNS_PORT": split.port}
    )

    def notification(place: int) -> Any:
        alert = {"title": "Wang", "body": TEXT}
        ids = {"message_id": f"cm-{place}", "delivery_id": DELIVERY, "attempt_id": f"{DELIVERY}-0.0.0a"}
        aps = {"alert": alert, "mutable-content": 1, "badge": 3, "sound": "default"}
        return aioapns.NotificationRequest(
            device_token=f"{place:064x}",
            message={"conversation_id": f"c{place}", "aps": aps, "pushpath": ids},
            time_to_live=3_600,
            priority=10,
            collapse_key=f"{place:032x}",
            push_type=aioapns.PushType.ALERT,
        )

    await client.send_notification(notification(0))
    await asyncio.sleep(0.2)
    # Apple's end starts with one stream and then grants more, which aioapns miscounts and crawls. Set right by hand:
    # we compare with aioapns at its best.
    channels = client.pool.connections[0].free_channels
    channels._value = channels.bound  # noqa: SLF001

    async def work() -> int:
        taken = 0
        for start in range(0, count, 100):
            sends = [client.send_notification(notification(place)) for place in range(start, min(start + 100, count))]
            taken += sum(result.is_successful for result in await asyncio.gather(*sends))
        return taken

    try:
        return await cost_of(work, count)
    finally:
        client.pool.close()


async def bare_pycurl_cost(requests: Sequence[tuple[str, list[str], bytes]], ca_file: str) -> float:
    """libcurl's multi interface with nothing of ours: its own loop, pooled handles, one connection."""
    multi = pycurl.CurlMulti()
    multi.setopt(pycurl.M_PIPELINING, pycurl.PIPE_MULTIPLEX)
    multi.setopt(pycurl.M_MAX_HOST_CONNECTIONS, 1)
    idle = []
    for _ in range(200):
        easy = pycurl.Curl()
        easy.setopt(pycurl.CAINFO, ca_file)
        easy.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_2TLS)
        easy.setopt(pycurl.PIPEWAIT, 1)
        easy.setopt(pycurl.PROXY, "")
        easy.setopt(pycurl.WRITEDATA, io.BytesIO())
        idle.append(easy)

    async def work() -> int:
        waiting, under_way, taken = list(reversed(requests)), 0, 0
        while waiting or under_way:
            while idle and waiting:
                url, headers, body = waiting.pop()
                easy = idle.pop()
                easy.setopt(pycurl.URL, url)
                easy.setopt(pycurl.HTTPHEADER, headers)
                easy.setopt(pycurl.POSTFIELDS, body)
                multi.add_handle(easy)
                under_way += 1
            multi.perform()
            _, good, bad = multi.info_read()
            for easy in good:
                taken += easy.getinfo(pycurl.RESPONSE_CODE) == 200
            for easy in [*good, *(entry[0] for entry in bad)]:
                multi.remove_handle(easy)
                idle.append(easy)
                under_way -= 1
            if not good:
                multi.select(0.1)
        return taken

    cost = await cost_of(work, len(requests))
    for easy in idle:
        easy.close()
    multi.close()
    return cost


def firebase_costs(ends: Ends, count: int) -> tuple[float, float]:
    """send_each (a thread a message) and send_each_async, on HTTP/1.1 in clear text."""
    import firebase_admin
    from firebase_admin import credentials, messaging

    service = messaging._MessagingService  # noqa: SLF001 - its only door to another address
    before, service.FCM_URL = service.FCM_URL, ends.fcm_url + "/v1/projects/{0}/messages:send"
    app = firebase_admin.initialize_app(credentials.Certificate(load_credentials(ends.directory).fcm), name="bench")
    try:
        return asyncio.run(_firebase_sends(app, messaging, count))
    finally:
        service.FCM_URL = before
        firebase_admin.delete_app(app)


async def _firebase_sends(app: Any, messaging: Any, count: int) -> tuple[float, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        messages = [
            messaging.Message(
                token=f"{place:064x}",
                data={"title": "Wang", "body": TEXT, "pushpath": "{}", "conversation_id": f"c{place}"},
                android=messaging.AndroidConfig(priority="high", ttl=3_600),
            )
            for place in range(count)
        ]

    async def threads() -> int:
        return sum(
            messaging.send_each(messages[start : start + 100], app=app).success_count for start in range(0, count, 100)
        )

    async def tasks() -> int:
        taken = 0
        for start in range(0, count, 100):
            taken += (await messaging.send_each_async(messages[start : start + 100], app=app)).success_count
        return taken

    messaging.send_each(messages[:1], app=app)
    by_threads = await cost_of(threads, count)
    by_tasks = await cost_of(tasks, count)
    await messaging._get_messaging_service(app)._async_client.aclose()  # noqa: SLF001 - it belongs to this loop
    return by_threads, by_tasks
