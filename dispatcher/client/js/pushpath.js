// Pushpath device client for browsers and React Native: holds a line, resumes from its cursor, shows nothing twice.
// A plain ES module without dependencies. The states and rules are those of the Python SDK (dispatcher/client/device.py).

const SUBPROTOCOL = "pushpath.v1.json";
const FIRST_MS = 1_000;
const MOST_MS = 120_000;
const HELD_MS = 30_000;
const PONG_WITHIN_MS = 10_000;
const ACK_AFTER_MS = 50;
const SEEN_KEPT = 2_000;
// What a close code asks of the device; any other one means: come back.
const STOP = new Set([4002, 4010]);
const NEW_TOKEN = new Set([4001]);
const RETRY_LATER = new Set([1002, 1003, 1007, 1008, 1009, 1011, 1013, 4003]);

/** What outlives a connection. Store `notebook()` and hand it in again. */
export class Keepsake {
  constructor(notebook = {}) {
    this.cursor = notebook.cursor ?? null;
    this.seen = new Set(notebook.seen ?? []);
  }

  remember(messageId) {
    this.seen.delete(messageId);
    this.seen.add(messageId);
    if (this.seen.size > SEEN_KEPT) this.seen.delete(this.seen.values().next().value);
  }

  notebook() {
    return { cursor: this.cursor, seen: [...this.seen] };
  }
}

/** How long to wait after a line ended: milliseconds, or null to stop for good. Pure but for `dice`. */
export function pauseAfter(code, bye, failures, dice = Math.random) {
  if (STOP.has(code)) return null;
  if (bye?.retry_after_s != null) return (bye.retry_after_s + dice()) * 1_000;
  if (NEW_TOKEN.has(code) && failures <= 1) return 0;
  const longest = FIRST_MS * 2 ** Math.max(0, failures - 1) * (RETRY_LATER.has(code) ? 4 : 1);
  return Math.min(MOST_MS, longest) * (0.25 + 0.75 * dice());
}

export class DeviceClient {
  constructor(gatewayUrl, { token, onMessage, onRecall, onChange, keepsake, foreground = true, WebSocket, dice } = {}) {
    this.gatewayUrl = gatewayUrl;
    this.source = token;
    this.onMessage = onMessage;
    this.onRecall = onRecall ?? (() => {});
    this.onChange = onChange ?? (() => {});
    this.keepsake = keepsake ?? new Keepsake();
    this.foreground = foreground;
    this.WebSocket = WebSocket ?? globalThis.WebSocket;
    this.dice = dice ?? Math.random;
    this.state = "offline";
    this.more = false;
    this.failures = 0;
    this.stopped = false;
    this.token = null;
    this.socket = null;
    this.timer = null;
  }

  /** Holds the line until `stop()`; resolves with the close code that ended it for good, or null after `stop()`. */
  async run() {
    this.stopped = false;
    while (!this.stopped) {
      this.turn("connecting");
      this.token ??= await this.source();
      const { code, bye, heldMs } = await this.holdLine();
      this.turn("offline");
      if (this.stopped) break;
      this.failures = heldMs >= HELD_MS || (bye && heldMs > 0) ? 1 : this.failures + 1;
      if (NEW_TOKEN.has(code)) this.token = null;
      const pause = pauseAfter(code, bye, this.failures, this.dice);
      if (pause === null) return code;
      await new Promise((resolve) => {
        this.wake = resolve;
        this.timer = setTimeout(resolve, pause);
      });
    }
    return null;
  }

  stop() {
    this.stopped = true;
    clearTimeout(this.timer);
    this.wake?.();
    this.socket?.close(1000);
  }

  setForeground(foreground) {
    if (foreground === this.foreground) return;
    this.foreground = foreground;
    this.say({ t: "state", state: foreground ? "foreground" : "background" });
  }

  /** Fetches a fresh token and shows it on the line before the old one ends. */
  async renew() {
    this.token = await this.source();
    this.say({ t: "token", token: this.token });
  }

  // Inside

  holdLine() {
    return new Promise((resolve) => {
      const socket = new this.WebSocket(this.gatewayUrl, [SUBPROTOCOL]);
      const line = { acks: [], bye: null, welcomedAt: 0, beatMs: 0, beat: null, flush: null, queue: Promise.resolve() };
      let done = false;
      const end = (code) => {
        if (done) return;
        done = true;
        clearTimeout(line.beat);
        clearTimeout(line.flush);
        this.socket = null;
        // What was heard already is stored before the next line says its cursor.
        line.queue.finally(() =>
          resolve({ code, bye: line.bye, heldMs: line.welcomedAt ? Date.now() - line.welcomedAt : 0 }),
        );
      };
      socket.onopen = () => {
        this.socket = socket;
        const hello = { t: "hello", token: this.token, state: this.foreground ? "foreground" : "background" };
        if (this.keepsake.cursor) hello.cursor = this.keepsake.cursor;
        this.say(hello);
      };
      socket.onmessage = (event) => {
        if (line.welcomedAt) this.expectTraffic(line, socket, end);
        line.queue = line.queue
          .then(() => this.hear(JSON.parse(event.data), line, socket, end))
          .catch(() => {
            line.broken = true;
            socket.close(1000);
            end(1006); // not stored: it comes again
          });
      };
      socket.onerror = () => {};
      socket.onclose = (event) => end(event.code || 1006);
    });
  }

  async hear(frame, line, socket, end) {
    if (line.broken) return;
    if (frame.t === "welcome") {
      line.welcomedAt = Date.now();
      line.beatMs = frame.heartbeat_s * 1_000;
      this.turn("syncing");
      this.expectTraffic(line, socket, end);
    } else if (frame.t === "msg") {
      if (!this.keepsake.seen.has(frame.message_id)) await this.onMessage(frame);
      this.keepsake.remember(frame.message_id);
      this.keepsake.cursor = frame.cursor;
      line.acks.push(frame.delivery_id);
      line.flush ??= setTimeout(() => this.flush(line), ACK_AFTER_MS);
    } else if (frame.t === "caught_up") {
      this.keepsake.cursor = frame.cursor;
      this.more = frame.more;
      this.flush(line);
      this.turn("online");
    } else if (frame.t === "pong") {
      line.beatMs = frame.heartbeat_s * 1_000;
      this.expectTraffic(line, socket, end);
    } else if (frame.t === "recall") {
      this.keepsake.remember(frame.message_id);
      await this.onRecall(frame.message_id);
    } else if (frame.t === "bye") {
      line.bye = frame;
      this.flush(line);
    }
  }

  /** Any traffic counts: after a heartbeat's silence a ping goes out; without an answer the line is given up. */
  expectTraffic(line, socket, end) {
    clearTimeout(line.beat);
    line.beat = setTimeout(() => {
      this.say({ t: "ping" });
      line.beat = setTimeout(() => {
        socket.close(1000);
        end(1006);
      }, PONG_WITHIN_MS);
    }, line.beatMs);
  }

  flush(line) {
    clearTimeout(line.flush);
    line.flush = null;
    if (line.acks.length) this.say({ t: "ack", ids: line.acks.splice(0), event: "delivered" });
  }

  say(frame) {
    if (this.socket?.readyState === 1) this.socket.send(JSON.stringify(frame));
  }

  turn(state) {
    if (state === this.state) return;
    this.state = state;
    this.onChange(state);
  }
}
