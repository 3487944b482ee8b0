"""One strategy in a simulation: what it decides, and the figures that come of it."""

from __future__ import annotations

from strategies import learn
from strategies.catalogue import PATHS
from strategies.compile import Strategy
from strategies.course import Course, RecordedDelivery, joined, without_sms
from strategies.legs import Pick, course_along, course_of_one, pick
from strategies.spending import JOINED, Spending, Whom

MAX_ROUTES = 10_000
"""Different sequences of paths (and times to proof) counted apart before they are added up."""


class Made:
    """What a strategy makes of a delivery: its decision a track, and how it goes."""

    __slots__ = ("course", "picks")

    def __init__(self, picks: tuple[Pick, ...], course: Course) -> None:
        self.picks = picks
        self.course = course


class Side:
    """The figures of one strategy, gathered."""

    def __init__(self, strategy: Strategy) -> None:
        self.strategy = strategy
        self.names = [rule.name for rule in strategy.rules]
        self.spending = Spending(strategy.document.sms)
        self.segments = self.confirmed = self.no_evidence = 0
        self.limited: dict[str, int] = dict.fromkeys(self.spending.limits, 0)
        self._hits = [0] * len(strategy.rules)
        self._paths: dict[str, int] = dict.fromkeys(PATHS, 0)
        self._times: dict[int, float] = {}
        self._routes: dict[tuple[str, ...], int] = {}
        self._proven: dict[int, int] = {}

    def make(self, delivery: RecordedDelivery, like: Made | None = None) -> Made:
        """Plan every track and climb its ladder. Where another strategy planned the same (`like`), its course is
        taken over.
        """
        tracks = delivery.tracks
        if len(tracks) == 1:
            track = tracks[0]
            picked = pick(track.facts, self.strategy)
            if like is not None:
                _, legs, waits = like.picks[0]
                if picked[1] is legs and picked[2] == waits:
                    return Made((picked,), like.course)
            return Made((picked,), course_of_one(delivery, picked, track))
        picks = tuple([pick(track.facts, self.strategy) for track in tracks])
        if like is not None and all(map(_same, picks, like.picks)):
            return Made(picks, like.course)
        return Made(picks, course_along(delivery, picks))

    def allowed(self, delivery: RecordedDelivery, made: Made, whom: Whom) -> Made:
        """The same, without its SMS where another's stands for it or a limit holds it."""
        course = made.course
        if course.sms_ms is None:
            return made
        refusal = self.spending.refusal(
            whom, delivery.conversation, delivery.sms_segments, delivery.planned_ms + course.sms_ms
        )
        if refusal is None:
            return made
        held = joined(course) if refusal == JOINED else without_sms(course, refusal)
        return Made(made.picks, held)

    def count(self, made: Made) -> None:
        """Add a delivery's course to the figures."""
        for index, _, _ in made.picks:
            self._hits[index] += 1
        course = made.course
        route, at_ms = course.attempts, course.proven_ms
        if route in self._routes:
            self._routes[route] += 1
        else:
            self._new_route(route)
        if at_ms is not None:
            self.confirmed += 1
            if at_ms in self._proven:
                self._proven[at_ms] += 1
            else:
                self._new_time(at_ms)
        elif not course.evident:
            self.no_evidence += 1
        if course.segments:
            self.segments += course.segments
        elif course.limited is not None:
            self.limited[course.limited] += 1

    def rules(self) -> dict[str, int]:
        """Decisions by rule, in the document's order."""
        return dict(zip(self.names, self._hits, strict=True))

    def paths(self) -> dict[str, int]:
        """Attempts by path."""
        self._add_routes()
        return self._paths

    def time_to_proof(self, share: float) -> float | None:
        """A quantile (seconds) of the expected time to proof."""
        self._add_times()
        return learn.bucket_quantile(sorted(self._times.items()), share)

    def _new_route(self, route: tuple[str, ...]) -> None:
        if len(self._routes) >= MAX_ROUTES:
            self._add_routes()
        self._routes[route] = 1

    def _new_time(self, at_ms: int) -> None:
        if len(self._proven) >= MAX_ROUTES:
            self._add_times()
        self._proven[at_ms] = 1

    def _add_routes(self) -> None:
        for route, count in self._routes.items():
            for path in route:
                self._paths[path] = self._paths.get(path, 0) + count
        self._routes.clear()

    def _add_times(self) -> None:
        for at_ms, count in self._proven.items():
            place = learn.bucket_of(at_ms / 1000)
            self._times[place] = self._times.get(place, 0.0) + count
        self._proven.clear()


def _same(one: Pick, other: Pick) -> bool:
    return one[1] is other[1] and one[2] == other[2]
