"""An app's blocks, sorted so that a caller is held against them at once."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

from dispatcher.domain.clock import Millis
from dispatcher.ports.operations import Block


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockList:
    """Who is kept out, as it was a moment ago. Lapsed blocks keep nobody out."""

    addresses: Mapping[str, Block] = field(default_factory=dict)
    networks: Sequence[tuple[IPv4Network | IPv6Network, Block]] = ()
    users: Mapping[str, Block] = field(default_factory=dict)

    def barred(self, address: str, user_id: str | None, now: Millis) -> Block | None:
        """The block that keeps this caller out."""
        if user_id is not None and (block := self.users.get(user_id)) is not None and _holds(block, now):
            return block
        if (block := self.addresses.get(address)) is not None and _holds(block, now):
            return block
        if self.networks:
            try:
                found = ip_address(address)
            except ValueError:
                return None
            for network, block in self.networks:
                if found in network and _holds(block, now):
                    return block
        return None


def sorted_blocks(blocks: Iterable[Block]) -> dict[str, Any]:
    """The fields of a :class:`BlockList` of *blocks*."""
    all_of_them = list(blocks)
    plain = [block for block in all_of_them if block.kind == "address"]
    return {
        "addresses": {block.value: block for block in plain if "/" not in block.value},
        "networks": [(ip_network(block.value), block) for block in plain if "/" in block.value],
        "users": {block.value: block for block in all_of_them if block.kind == "user"},
    }


def _holds(block: Block, now: Millis) -> bool:
    return block.until is None or now < block.until
