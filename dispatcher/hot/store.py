"""The connection to Redis or Valkey, its scripts and its names.

Keys: ``<prefix>{sNN}:...`` for homes, waves and journal of a shard, ``<prefix>{u:<app>:<user>}:...`` for a user; no
script spans both. Scripts name many users at once, so one primary serves (ops/decisions/0012).
"""

import asyncio
from collections.abc import Iterable, Sequence
from functools import cache
from hashlib import sha1
from importlib.resources import files
from typing import Any

import hiredis
from redis import exceptions
from redis.asyncio import BlockingConnectionPool, Connection, Redis, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff

from dispatcher.domain.ids import SHARDS


class _Packed:
    """Packs commands in C: redis-py's asyncio connections do it in Python, a third of a large script call's cost."""

    def pack_command(self, *args: Any) -> list[bytes]:
        return [hiredis.pack_command(args)]

    def pack_commands(self, commands: Iterable[Iterable[Any]]) -> list[bytes]:
        return [b"".join([hiredis.pack_command(tuple(args)) for args in commands])]


class _PackedTcp(_Packed, Connection):
    pass


class _PackedUnix(_Packed, UnixDomainSocketConnection):
    pass


@cache
def _script(name: str, state: bool) -> tuple[str, bytes]:
    folder = files("dispatcher.hot").joinpath("lua")
    text = folder.joinpath(f"{name}.lua").read_bytes()
    if state:
        text = folder.joinpath("_state.lua").read_bytes() + b"\n" + text
    return sha1(text, usedforsecurity=False).hexdigest(), text


class HotStore:
    """One process's door to the hot store. *shards*: how many of the 64 this installation uses."""

    def __init__(self, url: str, *, shards: int = 8, prefix: str = "pp:", connections: int = 32) -> None:
        if not 1 <= shards <= SHARDS:
            raise ValueError(f"hot_shards must be 1 to {SHARDS}")
        self.shards = shards
        self.prefix = prefix
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=connections,
            timeout=10,
            socket_timeout=30,
            socket_connect_timeout=5,
            health_check_interval=0,
        )
        # redis-py types every command as sync or async at once; the answers are checked where they are read
        if pool.connection_class is UnixDomainSocketConnection:
            pool.connection_class = _PackedUnix
        elif pool.connection_class is Connection:
            pool.connection_class = _PackedTcp
        self.client: Any = Redis(
            connection_pool=pool,
            retry=Retry(ExponentialBackoff(cap=0.5, base=0.02), 4),
            retry_on_error=[exceptions.ConnectionError, exceptions.TimeoutError, exceptions.BusyLoadingError],
        )

    def tag(self, shard: int) -> str:
        """The prefix of all keys of a shard."""
        return f"{self.prefix}{{s{shard:02d}}}:"

    def user(self, app: str, user_id: str) -> str:
        """The prefix of all keys of a user."""
        return f"{self.prefix}{{u:{app}:{user_id}}}:"

    def key(self, name: str) -> str:
        """A key that belongs to no shard and no user."""
        return f"{self.prefix}{name}"

    async def run(self, script: str, keys: Sequence[Any], args: Sequence[Any], *, state: bool = True) -> Any:
        """Runs ``lua/<script>.lua``; *state* puts the state vectors' functions in front of it."""
        sha, text = _script(script, state)
        try:
            return await self.client.evalsha(sha, len(keys), *keys, *args)
        except exceptions.NoScriptError:
            return await self.client.eval(text, len(keys), *keys, *args)

    async def run_many(
        self, script: str, calls: Sequence[tuple[Sequence[Any], Sequence[Any]]], *, state: bool = True
    ) -> list[Any]:
        """The same script for several key sets in one round trip."""
        if len(calls) == 1:
            return [await self.run(script, *calls[0], state=state)]
        sha, _ = _script(script, state)
        pipe = self.client.pipeline(transaction=False)
        for keys, args in calls:
            pipe.evalsha(sha, len(keys), *keys, *args)
        replies = await pipe.execute(raise_on_error=False)
        if any(isinstance(reply, exceptions.NoScriptError) for reply in replies):
            replies = await asyncio.gather(*(self.run(script, keys, args, state=state) for keys, args in calls))
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return list(replies)

    async def close(self) -> None:
        await self.client.aclose()
        await self.client.connection_pool.disconnect()
