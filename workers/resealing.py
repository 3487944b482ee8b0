"""A master secret follows another: everything sealed goes over to the one in use, and hot copies with it."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from dispatcher.bootstrap import Stores
from dispatcher.ledger import reseal
from dispatcher.webhooks.signing import sealed_for

KINDS = ("credentials", "webhooks", "numbers")


@dataclass(slots=True, kw_only=True)
class Tally:
    """Of one kind. *earlier*: how many were not under the key in use; *broken*: names of what no key opens."""

    read: int = 0
    earlier: int = 0
    broken: list[str] = field(default_factory=list)

    def add(self, page: reseal.Page) -> None:
        self.read += page.read
        self.earlier += len(page.earlier)
        self.broken += ["/".join(place) for place in page.broken]


async def reseal_all(
    stores: Stores, *, write: bool = True, progress: Callable[[str, int], None] = lambda _kind, _read: None
) -> dict[str, Tally]:
    """Seals again whatever an earlier key sealed; with *write* False only looks. By kind of :data:`KINDS`.

    Safe to repeat and to break off. *progress* is told the kind and how many of it were read so far.
    """
    tallies = {kind: Tally() for kind in KINDS}

    def told(kind: str, page: reseal.Page) -> None:
        tallies[kind].add(page)
        progress(kind, tallies[kind].read)

    def of_app(sealed: bytes, app: str) -> bytes | None:
        return stores.sealer.reseal(sealed, sealed_for(app))

    def plain(sealed: bytes, _about: str) -> bytes | None:
        return stores.sealer.reseal(sealed)

    told("credentials", await reseal.credentials(stores.engine, plain, write=write))
    told("webhooks", await reseal.webhooks(stores.engine, of_app, write=write))
    place: reseal.Place | None = reseal.START
    while place is not None:
        page = await reseal.numbers(stores.engine, plain, place, write=write)
        if write:
            await _renew(stores, page.earlier)
        told("numbers", page)
        place = page.next
    if write:
        await reseal.note_done(stores.engine, stores.sealer.tag, stores.clock())
    return tallies


async def _renew(stores: Stores, places: Sequence[reseal.Place]) -> None:
    """Hot copies hold the number as it was sealed."""
    by_app: dict[str, list[str]] = defaultdict(list)
    for app, user_id in places:
        by_app[app].append(user_id)
    for app, user_ids in by_app.items():
        await stores.parts.profiles.put(list((await stores.directory.profiles(app, user_ids)).values()))
