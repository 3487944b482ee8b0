"""What the journal of a home teaches: proofs that name their attempt, attempts in vain, and nothing else."""

from typing import Any

import pytest

from dispatcher.domain.delivery import End, Proof
from dispatcher.domain.device import Device, Platform, Profile
from dispatcher.domain.journal import Entry, Kind, receipt_entry, write_entry
from dispatcher.domain.paths import Path
from dispatcher.pipeline.learning import endings, facts_told, told
from dispatcher.ports.learning import LearningSettings
from strategies.learn import Pin, Rates

AT = 1_900_000_000_000
MEMBER = [(0, 0)]
PROVEN = (End.CONFIRMED, {0: Proof.DELIVERED})
VAIN = (End.EXHAUSTED, {0: Proof.NONE})


def tried(path: Path, step: int, at: int, outcome: str = "handed_over") -> list[Entry]:
    return [
        Entry(kind=Kind.ATTEMPTED, at=at, members=MEMBER, path=path, step=step),
        Entry(kind=Kind.OUTCOME, at=at, members=MEMBER, path=path, step=step, columns={"outcome": [outcome]}),
    ]


def timed_out(step: int, at: int) -> Entry:
    columns: dict[str, list[Any]] = {"step": [step], "path": [None], "reason": ["timeout"]}
    return Entry(kind=Kind.ESCALATED, at=at, members=MEMBER, columns=columns)


def proof(path: Path | None, at: int, *, inferred: bool = False) -> Entry:
    return receipt_entry(at, [(0, 0, Proof.DELIVERED, path, inferred, True)])


@pytest.mark.parametrize(
    ("entries", "end", "expected"),
    [
        ([*tried(Path.APNS, 0, AT), proof(Path.APNS, AT + 2_500)], PROVEN, [(Path.APNS, 2.5)]),
        ([*tried(Path.APNS, 0, AT), proof(Path.APNS, AT + 2_500, inferred=True)], PROVEN, []),
        ([*tried(Path.APNS, 0, AT)], VAIN, [(Path.APNS, None)]),
        ([*tried(Path.APNS, 0, AT)], PROVEN, []),  # its receipt has not reached the journal yet
        (
            [
                *tried(Path.LONGCONN, 0, AT),
                timed_out(0, AT + 2_000),
                *tried(Path.APNS, 8, AT + 2_000),
                proof(Path.APNS, AT + 5_000),
            ],
            PROVEN,
            [(Path.LONGCONN, None), (Path.APNS, 3.0)],
        ),
        (  # at once: the push was still waiting when the line's proof came
            [*tried(Path.LONGCONN, 0, AT), *tried(Path.APNS, 1, AT), proof(Path.LONGCONN, AT + 300)],
            PROVEN,
            [(Path.LONGCONN, 0.3)],
        ),
        ([*tried(Path.APNS, 0, AT, "rejected")], VAIN, []),  # refused: nothing to prove
        (  # retried after a refusal: one attempt
            [*tried(Path.APNS, 0, AT, "retry_later"), *tried(Path.APNS, 0, AT + 500), proof(Path.APNS, AT + 1_500)],
            PROVEN,
            [(Path.APNS, 1.0)],
        ),
        ([*tried(Path.APNS, 0, AT), proof(Path.POLL, AT + 9_000)], PROVEN, []),  # pulled; the push proved nothing
    ],
)
def test_endings(entries: list[Entry], end: tuple[End, dict[int, Proof]], expected: list[object]) -> None:
    shuffled = list(reversed([write_entry(entry) for entry in entries]))  # the ledger keeps no order within a moment
    assert endings(shuffled, {0: end}).get((0, 0), []) == expected


DEVICE = Device(device_id="d1", epoch=1, platform=Platform.ANDROID, manufacturer="Xiaomi", app_version="8.1.3")
PROFILE = Profile(app="im", user_id="li", phone_country="86", devices=(DEVICE,))
GOOD = Rates(0.9, 3.0, 20, 18, 1.0)
POOR = Rates(0.2, 30.0, 20, 4, 1.0)
SEGMENT = "s:fcm:android:xiaomi:8.1:86"


@pytest.mark.parametrize(
    ("own", "segments", "settings", "rate", "source"),
    [
        ({Path.FCM: GOOD}, {SEGMENT: POOR}, LearningSettings(), 0.9, "device"),
        ({}, {SEGMENT: POOR}, LearningSettings(), 0.2, "segment"),
        ({Path.FCM: GOOD}, {}, LearningSettings(pins={"d:fcm:d1": Pin(ack_rate=0.5)}), 0.5, "pinned"),
        ({Path.FCM: GOOD}, {}, LearningSettings(pins={SEGMENT: Pin(ack_rate=0.4)}), 0.4, "pinned"),
        ({Path.FCM: GOOD}, {SEGMENT: POOR}, LearningSettings(enabled=False), None, "none"),
        ({}, {}, LearningSettings(), None, "none"),
    ],
)
def test_planning_is_told(
    own: dict[Path, Rates], segments: dict[str, Rates], settings: LearningSettings, rate: float | None, source: str
) -> None:
    answers = told(PROFILE, DEVICE, own, segments, settings)
    assert facts_told(answers).get("device.ack_rate.fcm") == rate
    if rate is not None:
        assert answers[Path.FCM].ack_rate_from == source
    else:
        assert answers == {}
