"""HPACK's Huffman code, decoded a byte at a time (RFC 7541 section 5.2 and appendix B).

A step is (node of the code tree, input byte) to (node, octets); steps are worked out when they are first needed.
"""

from typing import Final

from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH

EOS: Final = 256
Step = tuple[int, bytes]


class HuffmanError(ValueError):
    """No string of this code: EOS inside, or padding that is not a short prefix of EOS."""


def _tree() -> list[list[int]]:
    """Inner nodes as pairs of children; a leaf is the complement of its symbol."""
    nodes = [[0, 0]]
    for symbol, (code, length) in enumerate(zip(REQUEST_CODES, REQUEST_CODES_LENGTH, strict=True)):
        node = 0
        for place in range(length - 1, 0, -1):
            bit = code >> place & 1
            if nodes[node][bit] == 0:
                nodes.append([0, 0])
                nodes[node][bit] = len(nodes) - 1
            node = nodes[node][bit]
        nodes[node][code & 1] = ~symbol
    return nodes


def _endings(nodes: list[list[int]]) -> frozenset[int]:
    """Where a string may end: on a boundary, or up to seven one bits behind one."""
    node, endings = 0, [0]
    for _ in range(7):
        node = nodes[node][1]
        endings.append(node)
    return frozenset(endings)


_NODES: Final = _tree()
_ENDINGS: Final = _endings(_NODES)
_steps: Final[list[list[Step | None]]] = [[None] * 256 for _ in _NODES]


def _step(node: int, byte: int) -> Step:
    start, out = node, bytearray()
    for place in range(7, -1, -1):
        node = _NODES[node][byte >> place & 1]
        if node < 0:
            if ~node == EOS:
                raise HuffmanError("EOS in a string")
            out.append(~node)
            node = 0
    step = _steps[start][byte] = (node, bytes(out))
    return step


def decode(data: bytes) -> bytes:
    """The octets of *data*; HuffmanError where it is no whole string."""
    steps, node = _steps, 0
    out = []
    for byte in data:
        node, octets = steps[node][byte] or _step(node, byte)
        out.append(octets)
    if node not in _ENDINGS:
        raise HuffmanError("bad padding")
    return b"".join(out)
