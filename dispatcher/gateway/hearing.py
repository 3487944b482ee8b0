"""What a device says over its line: bytes to frames, frames to the session, acks to the desk, all within its budget."""

from typing import TYPE_CHECKING

from dispatcher.domain.receipt import EVENTS
from dispatcher.gateway.counters import Count
from dispatcher.ports.receiving import DeviceAcks
from dispatcher.protocol.close_codes import CloseCode
from dispatcher.protocol.effects import Acknowledge
from dispatcher.protocol.frames import MAX_FRAME, Ack, Unparsable
from dispatcher.protocol.server_session import AwaitingHello, Hailed, Live, Syncing
from dispatcher.protocol.wire import (
    BINARY,
    CLOSE,
    FAULT,
    PING,
    PONG,
    TEXT,
    FrameReader,
    encode_frame,
    read_close,
    whole_text,
)

if TYPE_CHECKING:
    from dispatcher.gateway.line import Line

#: Bytes taken from one device at a time before its budget is asked again.
SLICE = 16 * 1024


def hear(line: "Line", data: bytes) -> None:
    """Bytes as they came, at most :data:`SLICE` of them."""
    reader = line.reader
    if reader is None:
        text = whole_text(data, MAX_FRAME)
        if text is not None:
            _frame(line, TEXT, text)
            return
        reader = FrameReader(masked=True, limit=MAX_FRAME)
    events = reader.feed(data)
    line.reader = None if reader.idle else reader
    for opcode, payload in events:
        if opcode <= BINARY:
            _frame(line, opcode, payload)
        elif opcode == CLOSE:
            _close_answered(line, payload)
        elif opcode == FAULT:
            line.close(read_close(payload)[0], payload)
            # Nothing more is read, so its half of the handshake cannot be heard: half-close, drain, then go.
            if line.transport.can_write_eof():
                line.transport.write_eof()
        else:
            line.spent += 1
            if not isinstance(line.session, AwaitingHello | Hailed):
                line.session.heard(line.desk.now)
            if opcode == PING and not line.ended:
                line.transport.write(encode_frame(PONG, payload))


def hear_slowly(line: "Line", data: bytes) -> None:
    """Many bytes, as far as the device's budget of this second goes; the rest waits at the desk."""
    budget = line.desk.settings.frames_per_second
    for start in range(0, len(data), SLICE):
        if line.spent > budget:
            throttle(line, data[start:])
            return
        hear(line, data[start : start + SLICE])
    if line.spent > budget:
        throttle(line, b"")


def throttle(line: "Line", rest: bytes) -> None:
    """A device that said more than its budget is read no further until the desk's next tick; *rest*: not heard yet."""
    desk = line.desk
    second = desk.now // 1_000
    if second != line.spent_in and not rest and desk.acks.waiting < desk.settings.acks_waiting:
        line.spent_in = second
        line.spent = 0
        return
    if line not in desk.throttled:
        desk.counters[Count.THROTTLED] += 1
        line.transport.pause_reading()
    desk.throttled[line] = rest


def _frame(line: "Line", opcode: int, payload: bytes) -> None:
    session = line.session
    desk = line.desk
    line.spent += 1
    try:
        if (opcode == TEXT) is not line.codec.text:
            raise Unparsable("text and binary are not exchangeable")
        frame = line.codec.client_frame(payload)
    except Unparsable:
        line.farewell(CloseCode.UNPARSABLE, "unparsable")
        return
    if isinstance(session, (Live, Syncing)):
        if line.ended and type(frame) is not Ack:
            return
        for effect in session.receive(frame, desk.now):
            if type(effect) is Acknowledge:
                _acknowledge(line, session, effect)
            else:
                line.apply((effect,))
    elif line.ended:
        return
    elif isinstance(session, AwaitingHello):
        answer = session.receive(frame, desk.clock(), desk.manners)
        if isinstance(answer, Hailed):
            line.session = answer
            desk.openings.open(line, answer)
        else:
            line.apply((answer,))
    elif type(frame) is Ack:
        acks = DeviceAcks(
            session.identity.app,
            session.identity.user_id,
            session.identity.device_id,
            EVENTS[frame.event],
            frame.ids,
        )
        desk.acks.add(acks)


def _acknowledge(line: "Line", session: Live | Syncing, effect: Acknowledge) -> None:
    acks = line.desk.acks
    line.spent += len(effect.ids) >> 4
    acks.add(DeviceAcks(session.app, session.user_id, session.device_id, effect.event, effect.ids))
    if acks.waiting > line.desk.settings.acks_waiting:
        throttle(line, b"")


def _close_answered(line: "Line", payload: bytes) -> None:
    """The peer's half: answered if it began, then the socket goes."""
    if not line.ended:
        code, _ = read_close(payload)
        line.ended = code
        line.transport.write(encode_frame(CLOSE, payload[:2]))
        line.leave_node(code)
    line.desk.deadlines.put(line, line.desk.now + line.desk.settings.close_within)
    line.transport.close()
