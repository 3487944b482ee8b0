"""Who is on this node: lines and parked devices, by app and device."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dispatcher.gateway.arrival import Arrival
    from dispatcher.gateway.line import Line


class Hub:
    """At most one line and one parked request a device; the newest wins."""

    __slots__ = ("_lines", "_names", "_parked", "lines_held")

    def __init__(self) -> None:
        self._lines: dict[str, dict[str, Line]] = {}
        self._parked: dict[str, dict[str, Arrival]] = {}
        self._names: dict[str, str] = {}
        self.lines_held = 0

    def __iter__(self) -> "Iterator[Line]":
        for lines in self._lines.values():
            yield from lines.values()

    def parked(self) -> "Iterator[Arrival]":
        """All devices that wait by long-poll."""
        for arrivals in self._parked.values():
            yield from arrivals.values()

    def apps(self) -> "list[str]":
        """Apps that have a device here."""
        held = [app for app, lines in self._lines.items() if lines]
        return held + [app for app, arrivals in self._parked.items() if arrivals and not self._lines.get(app)]

    def of_app(self, app: str) -> "tuple[list[Line], list[Arrival]]":
        """An app's lines and its devices that wait by long-poll."""
        return list(self._lines.get(app, {}).values()), list(self._parked.get(app, {}).values())

    def app(self, app: str) -> str:
        """The one text object that stands for *app* on this node."""
        return self._names.setdefault(app, app)

    def line(self, app: str, device_id: str) -> "Line | None":
        lines = self._lines.get(app)
        return lines.get(device_id) if lines is not None else None

    def attach(self, app: str, device_id: str, line: "Line") -> "Line | None":
        """Makes *line* the device's; returns the one it replaces."""
        lines = self._lines.setdefault(app, {})
        previous = lines.get(device_id)
        lines[device_id] = line
        if previous is None:
            self.lines_held += 1
        return previous

    def detach(self, app: str, device_id: str, line: "Line") -> None:
        """Ends *line*'s place; never another's."""
        lines = self._lines.get(app)
        if lines is not None and lines.get(device_id) is line:
            del lines[device_id]
            self.lines_held -= 1

    def waiting(self, app: str, device_id: str) -> "Arrival | None":
        arrivals = self._parked.get(app)
        return arrivals.get(device_id) if arrivals is not None else None

    def park(self, app: str, device_id: str, arrival: "Arrival") -> "Arrival | None":
        """Makes *arrival* the device's waiting request; returns another one it replaces."""
        arrivals = self._parked.setdefault(app, {})
        previous = arrivals.get(device_id)
        arrivals[device_id] = arrival
        return previous if previous is not arrival else None

    def unpark(self, app: str, device_id: str, arrival: "Arrival") -> None:
        """Ends *arrival*'s place; never another's."""
        arrivals = self._parked.get(app)
        if arrivals is not None and arrivals.get(device_id) is arrival:
            del arrivals[device_id]
