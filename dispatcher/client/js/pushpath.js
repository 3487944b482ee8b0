// Pushpath device client for browsers and React Native: holds a line, resumes from its cursor, shows nothing twice.
// A plain ES module without dependencies. The states and rules are those of the Python SDK (dispatcher/client/device.py).

const SUBPROTOCOL = "pushpath.v1.json";
const FIRST_MS = 1_000;
const MOST_MS = 120_000;
const HELD_MS = 30_000;
const PONG_WITHIN_MS = 10_000;
const ACK_AFTER_MS = 50;
const SEEN_KEPT = 2_000;
const POLL_AFTER_FAILURES = 3;
const POLL_FIRST_MS = 10_000;
const POLL_MOST_MS = 120_000;
// How often to speak so that no NAT on the way forgets the line (as the Python SDK's heartbeat.py): seconds.
const BASE_S = 270;
const STEP_S = 60;
const BELOW_S = 10;
const MOST_S = 1_500;
const HEARTBEAT_FAILURES = 5;
const DURATION_MS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };
// What a close code asks of the device; any other one means: come back.
const STOP = new Set([4002, 4010]);
const NEW_TOKEN = new Set([4001]);
const RETRY_LATER = new Set([1002, 1003, 1007, 1008, 1009, 1011, 1013, 4003]);

/** What outlives a connection. Store `notebook()` and hand it in again. */
export class Keepsake {
  constructor(notebook = {}) {
    this.cursor = notebook.cursor ?? null;
    this.seen = new Set(notebook.seen ?? []);
    this.heartbeat = new Heartbeat(notebook.heartbeat);
  }

  remember(messageId) {
    this.seen.delete(messageId);
    this.seen.add(messageId);
    if (this.seen.size > SEEN_KEPT) this.seen.delete(this.seen.values().next().value);
  }

  notebook() {
    return { cursor: this.cursor, seen: [...this.seen], heartbeat: this.heartbeat.learned };
  }
}

/**
 * Intervals by network, in seconds: 4.5 minutes in the foreground; in the background a minute more a step while it works,
 * after the first failure 10 s below the last good value, after five failures in a row from the start.
 */
export class Heartbeat {
  constructor(learned = {}) {
    this.learned = learned;
  }

  interval(network, foreground) {
    const known = this.learned[network];
    if (foreground || !known) return BASE_S;
    return known.settled ? Math.max(BASE_S, known.good_s - BELOW_S) : known.trying_s;
  }

  succeeded(network, seconds) {
    const known = (this.learned[network] ??= fresh());
    known.failures = 0;
    known.good_s = Math.max(known.good_s, seconds);
    if (!known.settled && seconds >= known.trying_s) {
      known.trying_s = Math.min(seconds + STEP_S, MOST_S);
      known.settled = seconds >= MOST_S;
    }
  }

  failed(network, seconds) {
    const known = (this.learned[network] ??= fresh());
    known.failures += 1;
    if (known.failures >= HEARTBEAT_FAILURES) this.learned[network] = fresh();
    else if (!known.settled && seconds > BASE_S) known.settled = true;
  }
}

const fresh = () => ({ good_s: 0, trying_s: BASE_S, settled: false, failures: 0 });

/** What the HTTP API refused. `retryAfterS`: its wish, or null. */
export class PushpathError extends Error {
  constructor(status, code, detail, retryAfterS = null) {
    super(`${status} ${code}: ${detail}`);
    Object.assign(this, { name: "PushpathError", status, code, detail, retryAfterS });
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
  constructor(
    gatewayUrl,
    {
      token,
      onMessage,
      onRecall,
      onChange,
      keepsake,
      foreground = true,
      apiUrl = null,
      network = "",
      WebSocket,
      fetch,
      dice,
    } = {},
  ) {
    this.gatewayUrl = gatewayUrl;
    this.apiUrl = apiUrl;
    this.network = network;
    this.source = token;
    this.onMessage = onMessage;
    this.onRecall = onRecall ?? (() => {});
    this.onChange = onChange ?? (() => {});
    this.keepsake = keepsake ?? new Keepsake();
    this.foreground = foreground;
    this.WebSocket = WebSocket ?? globalThis.WebSocket;
    this.fetch = fetch ?? ((...request) => globalThis.fetch(...request));
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
      if (this.stopped) break;
      this.failures = heldMs >= HELD_MS || (bye && heldMs > 0) ? 1 : this.failures + 1;
      if (NEW_TOKEN.has(code)) this.token = null;
      const pause = pauseAfter(code, bye, this.failures, this.dice);
      if (pause === null) {
        this.turn("offline");
        return code;
      }
      const again = this.failures - POLL_AFTER_FAILURES;
      if (this.apiUrl !== null && again >= 0) {
        const polled = Math.min(POLL_MOST_MS, POLL_FIRST_MS * 2 ** again) * (0.75 + 0.5 * this.dice());
        await this.poll(Math.max(pause, polled));
      } else {
        this.turn("offline");
        await this.pause(pause);
      }
    }
    this.turn("offline");
    return null;
  }

  /** `PUT /v1/devices/{deviceId}`: platform, push tokens, alert permission, versions, locale, time zone. */
  async register(userId, deviceId, platform, facts = {}) {
    const device = { user_id: userId, platform, tokens: [], ...facts };
    await this.call("PUT", `/v1/devices/${encodeURIComponent(deviceId)}`, device);
  }

  /** `POST /v1/receipts`: for pushes (with `via` and `attempt_id`), `displayed` and `opened`. */
  receipts(receipts) {
    return this.call("POST", "/v1/receipts", { receipts });
  }

  /** Asks the inbox for what came since the cursor; resolves with the milliseconds until the next time to ask. */
  async pull() {
    for (;;) {
      const newestFirst = this.keepsake.cursor === null;
      const after = newestFirst ? "" : `&after=${encodeURIComponent(this.keepsake.cursor)}`;
      const page = await this.call("GET", `/v1/inbox?limit=100${after}`);
      for (const message of newestFirst ? [...page.messages].reverse() : page.messages) {
        if (!this.keepsake.seen.has(message.message_id)) {
          await this.onMessage({ t: "msg", attempt_id: `${message.delivery_id}-i`, ...message });
        }
        this.keepsake.remember(message.message_id);
        this.keepsake.cursor = message.cursor;
      }
      if (page.messages.length) {
        const proof = ({ delivery_id }) => ({ delivery_id, event: "delivered", via: "poll" });
        await this.receipts(page.messages.map(proof));
      }
      if (newestFirst || !page.more || !page.messages.length) return milliseconds(page.poll_after);
    }
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

  /** Polls while the line is left alone. */
  async poll(forMs) {
    this.turn("polling");
    const end = Date.now() + forMs;
    while (!this.stopped && Date.now() < end) {
      let pause = 15_000;
      try {
        pause = await this.pull();
      } catch (error) {
        if (error.status === 401) this.token = null;
        if (error.retryAfterS) pause = error.retryAfterS * 1_000;
      }
      await this.pause(Math.min(pause, Math.max(0, end - Date.now())));
    }
  }

  async call(method, path, body) {
    this.token ??= await this.source();
    const headers = { Authorization: `Bearer ${this.token}` };
    if (body !== undefined) headers["Content-Type"] = "application/json";
    const reply = await this.fetch(this.apiUrl + path, { method, headers, body: body && JSON.stringify(body) });
    const document = await reply.json().catch(() => ({}));
    if (reply.ok) return document;
    const after = Number(reply.headers.get("Retry-After")) || null;
    throw new PushpathError(reply.status, document.code ?? "http", document.detail ?? reply.statusText, after);
  }

  pause(ms) {
    if (this.stopped) return Promise.resolve();
    return new Promise((resolve) => {
      this.wake = resolve;
      this.timer = setTimeout(resolve, ms);
    });
  }

  holdLine() {
    return new Promise((resolve) => {
      const socket = new this.WebSocket(this.gatewayUrl, [SUBPROTOCOL]);
      const line = { acks: [], bye: null, welcomedAt: 0, beatS: 0, pinged: false, beat: null, flush: null };
      line.queue = Promise.resolve();
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
      line.beatS = Math.min(this.wished(), frame.heartbeat_s);
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
      if (line.pinged) this.keepsake.heartbeat.succeeded(this.network, line.beatS);
      line.pinged = false;
      line.beatS = Math.min(this.wished(), frame.heartbeat_s);
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
    if (line.pinged) return;
    clearTimeout(line.beat);
    line.beat = setTimeout(() => {
      line.pinged = true;
      this.say({ t: "ping", next_s: this.wished() });
      line.beat = setTimeout(() => {
        this.keepsake.heartbeat.failed(this.network, line.beatS);
        socket.close(1000);
        end(1006);
      }, PONG_WITHIN_MS);
    }, line.beatS * 1_000);
  }

  wished() {
    return this.keepsake.heartbeat.interval(this.network, this.foreground);
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

function milliseconds(duration) {
  const [, number, unit] = /^(\d+)(ms|s|m|h|d)$/.exec(duration ?? "") ?? [0, 30, "s"];
  return Number(number) * DURATION_MS[unit];
}
