"""What an operator may set of a gateway process."""

import resource
from dataclasses import dataclass

from dispatcher.domain.clock import SECOND, Millis


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """Times in milliseconds unless the name says seconds; sizes in bytes."""

    host: str = "127.0.0.1"
    port: int = 8081
    node: str = ""  #: this process's name on the bus; empty: one is made at start
    backlog: int = 4_096
    doors: int = 8  #: listeners of the one socket: connections taken in at once
    reuse_port: bool = False
    tls_certificate: str | None = None  #: PEM chain; None: plain, behind a balancer
    tls_key: str | None = None
    trusted_peers: tuple[str, ...] = ()  #: networks whose X-Forwarded-For is believed: 10.0.0.0/8, or one address
    cors_origins: tuple[str, ...] = ()  #: pages whose scripts may poll: https://app.example.com, or *

    heartbeat_s: int = 240
    heartbeat_least_s: int = 30
    heartbeat_most_s: int = 1_800
    probe_after: Millis = 15 * SECOND
    dead_after: Millis = 45 * SECOND

    tick: Millis = 250
    gather_acks: Millis = 12  #: how long acks wait for company on their way to the hot store
    lease: Millis = 4 * SECOND  #: how soon the loss of this node is noticed; SMS steps hold from then on
    lease_every: Millis = 1_300

    max_connections: int | None = None  #: None: what the limit of open files leaves
    reserved_files: int = 96  #: of that limit, for stores, logs and refusals
    connects_per_second: int = 20_000
    connects_per_address: int = 5_000  #: a second
    openings_at_once: int = 512  #: hellos whose stores are being asked
    open_within: Millis = 20 * SECOND  #: for the stores to answer a hello
    openings_waiting: int = 50_000  #: beyond it, hellos are sent away with a time to come back
    frames_per_second: int = 2_000  #: of one device; more of them wait
    acks_waiting: int = 200_000  #: ids that the stores have not taken yet; beyond it, lines are not read
    slow_bytes: int = 256 * 1024  #: what a slow device may leave unread before it is cut off (4008)
    slow_after: Millis = 30 * SECOND  #: or how long it may take nothing at all

    poll_most: Millis = 60 * SECOND
    poll_line: Millis = 10 * SECOND  #: how long a device counts as parked between two polls
    keep_alive: Millis = 75 * SECOND
    request_within: Millis = 5 * SECOND
    close_within: Millis = 2 * SECOND  #: for the peer's half of the close handshake

    drain_budget: Millis = 8 * SECOND
    drain_spread_s: int = 15  #: devices are told to come back within this time, spread evenly

    def connection_limit(self) -> int:
        """Connections held before new ones are refused."""
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        free = max(16, soft - self.reserved_files) if soft != resource.RLIM_INFINITY else 1_000_000
        return free if self.max_connections is None else min(free, self.max_connections)
