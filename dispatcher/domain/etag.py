"""What two people who change one thing hold against each other (RFC 9110, 8.8.3 and 13.1): the tag of what was read."""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import msgspec

ANY = "*"


class Stale(Exception):
    """What was read is not what stands there now: it was changed, made or removed meanwhile."""


def etag_of(*content: Any) -> str:
    """The same for the same content, wherever it is computed."""
    return blake2b(msgspec.json.encode(list(content), order="sorted"), digest_size=12).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What a caller says must stand for a change to be made. *etags* of If-Match; None: anything, also nothing.

    *absent*: ``If-None-Match: *``, nothing may stand there yet.
    """

    etags: frozenset[str] | None = None
    absent: bool = False

    def hold(self, standing: str | None) -> None:
        """Raises :class:`Stale` where *standing*, the tag of what is there now (None: nothing), is not that."""
        if self.absent and standing is not None:
            raise Stale
        if self.etags is not None and (standing is None or not self.etags & {standing, ANY}):
            raise Stale


#: Whatever stands there.
ALWAYS = Condition()
