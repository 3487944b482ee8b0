"""The byte layouts that Python and the Lua scripts share; ``lua/_state.lua`` has the same table."""

import struct
from collections.abc import Sequence

from dispatcher.domain.clock import Millis
from dispatcher.domain.delivery import Cursor, DeliveryState, End, Phase, Proof, TrackState
from dispatcher.domain.ids import home_created
from dispatcher.domain.paths import PATH_BY_CODE, Path
from dispatcher.ports.homes import Ended, Members, Move

DELIVERY = struct.Struct(">BBBBHBx6s2x6s2x")
TRACK = struct.Struct(">BBBBBBBBII")
MOVE = struct.Struct(">HBBBBBBBBBBI3x")
RECEIPT = struct.Struct(">HBIBBx6s")
REPLY = struct.Struct(">BBBBBBBBI")
MEMBER = struct.Struct(">HB")
HOME = struct.Struct(">Q")
ATTEMPTED = struct.Struct(">I")

PLANNED, EACH, ARCHIVED, EXISTS = 1, 2, 4, 16
TRIED = 1


def u48(data: bytes) -> int:
    return int.from_bytes(data, "big")


def p48(value: int) -> bytes:
    return value.to_bytes(6, "big")


def home_bytes(home: int) -> bytes:
    return HOME.pack(home)


def new_delivery(expires_at: Millis) -> bytes:
    """The record of a delivery just admitted."""
    return DELIVERY.pack(0, 0, 0, EXISTS, 0, 0, b"\0" * 6, p48(expires_at))


def ended_delivery(expires_at: Millis, ended: Ended) -> bytes:
    """The record of a delivery that is admitted with nothing left to do."""
    by, at = path_code(ended.confirmed_by), p48(ended.confirmed_at or 0)
    return DELIVERY.pack(ended.end, by, ended.proof, EXISTS, 0, 0, at, p48(expires_at))


EMPTY_DELIVERY = b"\0" * DELIVERY.size


def new_track(cursor: Cursor, until: Proof, device_hash: int) -> bytes:
    """The record of a track just planned."""
    return TRACK.pack(0, cursor.step, cursor.attempt, cursor.phase, until, 0, 0, 0, device_hash, 0)


#: Members by their number: calling the enumeration costs five times as much.
_PROOFS = {int(proof): proof for proof in Proof}
_ENDS = {int(end): end for end in End}
_PHASES = {int(phase): phase for phase in Phase}


def read_track(home: int, data: bytes, offset: int = 0) -> TrackState:
    proof, step, attempt, phase, until, flags, path, _by, device_hash, attempted = TRACK.unpack_from(data, offset)
    return TrackState(
        proof=_PROOFS[proof],
        cursor=Cursor(step, attempt, _PHASES[phase]),
        until=_PROOFS[until],
        tried=bool(flags & TRIED),
        path=PATH_BY_CODE.get(path),
        device_hash=device_hash,
        attempted_at=home_created(home) + attempted - 1 if attempted else None,
    )


def attempted_offset(home: int, at: Millis | None) -> int:
    """Milliseconds since the home was made, plus one; 0 for never. 32 bits last 49 days."""
    return 0 if at is None else min(max(at - home_created(home), 0) + 1, 0xFFFFFFFF)


def read_attempted(home: int, offset: int) -> Millis | None:
    return home_created(home) + offset - 1 if offset else None


def read_delivery(record: bytes, tracks: Sequence[TrackState]) -> DeliveryState:
    end, by, proof, flags, _first, _count, confirmed_at, expires_at = DELIVERY.unpack(record)
    return DeliveryState(
        end=_ENDS[end],
        proof=_PROOFS[proof],
        confirmed_by=PATH_BY_CODE.get(by),
        confirmed_at=u48(confirmed_at) or None,
        expires_at=u48(expires_at),
        planned=bool(flags & PLANNED),
        each=bool(flags & EACH),
        archived=bool(flags & ARCHIVED),
        tracks=tuple(tracks),
    )


def write_chunk(members: Members) -> bytes:
    """A wave's chunk: home, cursor, then three bytes a member."""
    cursor = members.cursor
    head = HOME.pack(members.home) + bytes((cursor.step, cursor.attempt, cursor.phase))
    pack = MEMBER.pack
    return head + b"".join([pack(place, track) for place, track in members.members])


def read_members(data: bytes) -> tuple[tuple[int, int], ...]:
    return tuple(MEMBER.iter_unpack(data))


def write_move(home: int, move: Move) -> bytes:
    before, after = move.before, move.after
    return MOVE.pack(
        move.place,
        move.track,
        before.step,
        before.attempt,
        before.phase,
        after.step,
        after.attempt,
        after.phase,
        move.until,
        move.path.code if move.path else 0,
        move.tried,
        attempted_offset(home, move.attempted_at),
    )


def path_code(path: Path | None) -> int:
    return path.code if path else 0
