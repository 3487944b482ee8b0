// The phone lab: virtual phones on the SDK's own client. Everything they do goes through the real gateway and API.
import { DeviceClient, Keepsake } from "/sdk/pushpath.js";

const ARRIVALS_MS = 1_000;
const phones = [];

async function ask(name, body) {
  const reply = await fetch(`/lab/${name}`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  const answer = await reply.json().catch(() => ({}));
  if (reply.status === 401) location.assign("/sign-in?why=ended&next=/phone-lab");
  if (!reply.ok) throw new Error(answer.detail || `The console answered ${reply.status}.`);
  return answer;
}

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

/** A network that can vanish without a goodbye: frames are lost both ways, new lines do not open. */
function networkOf(phone) {
  return class LabSocket {
    constructor(url, protocols) {
      this.readyState = 0;
      if (!phone.network) {
        setTimeout(() => this.onclose?.({ code: 1006 }), 50);
        return;
      }
      this.socket = new WebSocket(url, protocols);
      this.socket.onopen = () => {
        this.readyState = 1;
        this.onopen?.();
      };
      this.socket.onmessage = (event) => phone.network && this.onmessage?.(event);
      this.socket.onerror = () => {};
      this.socket.onclose = (event) => {
        this.readyState = 3;
        this.onclose?.(event);
      };
      phone.lines.push(this);
    }
    send(text) {
      if (phone.network && this.socket?.readyState === 1) this.socket.send(text);
    }
    close(code) {
      this.socket?.close(code);
    }
    // The phone notices the loss at once and gives the line up; the gateway hears nothing.
    lose() {
      if (this.readyState !== 1) return;
      this.readyState = 3;
      this.onclose?.({ code: 1006 });
      this.onclose = null;
    }
  };
}

class Phone {
  constructor(made) {
    Object.assign(this, made, { network: true, app: "open", proves: true, lines: [], shown: new Map(), pushes: new Set() });
    this.texts = new Set();
    this.keepsake = new Keepsake();
    this.waiting = [];
    this.draw();
    this.connect();
  }

  connect() {
    if (this.client || this.app === "closed") return;
    const client = new DeviceClient(this.gateway, {
      token: async () => {
        const token = this.token ?? (await ask("tokens", this)).token;
        this.token = null;
        this.bearer = token;
        return token;
      },
      keepsake: this.keepsake,
      foreground: this.app === "open",
      onMessage: (message) => this.receive(message),
      onRecall: (messageId) => this.recall(messageId),
      onChange: (state) => this.say(state),
      WebSocket: networkOf(this),
    });
    this.client = client;
    client.run().then((code) => {
      if (this.client === client) this.client = null;
      if (code !== null) this.say(code === 4010 ? "moved to another user" : "replaced");
    });
  }

  disconnect() {
    const client = this.client;
    this.client = null;
    client?.stop();
    for (const line of this.lines.splice(0)) line.close(1000);
  }

  /** From the line. A silent phone keeps the message to itself until it may prove again: nothing is acknowledged. */
  async receive(message) {
    const text = message.notification ?? {};
    this.show({ path: "longconn", title: text.title, body: text.body, ...message });
    if (!this.proves) await new Promise((resolve) => this.waiting.push(resolve));
  }

  recall(messageId) {
    for (const bubble of this.shown.get(messageId) ?? []) bubble.classList.add("gone");
  }

  async setNetwork(on) {
    this.network = on;
    if (!on) for (const line of this.lines.splice(0)) line.lose();
    this.say();
  }

  setApp(state) {
    this.app = state;
    if (state === "closed") this.disconnect();
    else {
      this.client?.setForeground(state === "open");
      this.connect();
    }
    this.say();
  }

  setProves(on) {
    this.proves = on;
    if (on) for (const resolve of this.waiting.splice(0)) resolve();
  }

  async setAlerts(on) {
    this.alerts = on;
    await ask("devices", { ...this.identity(), alerts: on });
  }

  identity() {
    const { device_id, user_id, platform, push_token } = this;
    return { device_id, user_id, platform, push_token, token: this.bearer };
  }

  /** A push in the simulator's log has reached this phone, if it has a network. */
  async wake(push) {
    const key = `${push.path}:${push.n}`;
    if (this.pushes.has(key) || !this.network) return;
    this.pushes.add(key);
    if (push.clears) return this.recall(push.message_id);
    if (this.alerts) this.show(push);
    if (this.proves && push.delivery_id) await this.prove(push, "delivered");
  }

  async prove(item, event) {
    const receipt = { event };
    if (item.delivery_id) receipt.delivery_id = item.delivery_id;
    else receipt.message_id = item.message_id;
    if (item.path !== "sms") receipt.via = item.path;
    if (item.attempt_id) receipt.attempt_id = item.attempt_id;
    await ask("receipts", { token: this.bearer, receipts: [receipt] });
  }

  async poll() {
    if (!this.network) throw new Error("This phone has no network.");
    const page = await ask("inbox", { token: this.bearer, cursor: this.keepsake.cursor });
    const found = this.keepsake.cursor ? page.messages : [...page.messages].reverse();
    for (const message of found) {
      const text = message.notification ?? {};
      if (!this.keepsake.seen.has(message.message_id)) this.show({ path: "poll", title: text.title, body: text.body, ...message });
      this.keepsake.remember(message.message_id);
      this.keepsake.cursor = message.cursor;
    }
    if (found.length && this.proves) await ask("inbox", { token: this.bearer, cursor: this.keepsake.cursor });
    if (!found.length) this.tell("Nothing new in the inbox.");
  }

  show(item) {
    const names = { longconn: "Long connection", apns: "APNs", fcm: "FCM", poll: "Poll", sms: "SMS" };
    const time = new Date().toLocaleTimeString([], { hour12: false });
    const bubble = make(
      "article",
      { class: `bubble path-${item.path}` },
      make("b", {}, item.title || (item.path === "sms" ? item.from || "SMS" : "(no title)")),
      make("span", {}, item.body || ""),
      make("small", {}, `${names[item.path] ?? item.path} · ${time}`),
    );
    if (item.path !== "sms") {
      const open = make("button", { type: "button", class: "bubble-open", onclick: async () => {
        await this.attempt(() => this.prove(item, "opened"));
        open.replaceWith(make("small", {}, "opened"));
      } }, "Open");
      bubble.append(open);
    }
    const known = this.shown.get(item.message_id) ?? [];
    this.shown.set(item.message_id, [...known, bubble]);
    this.screen.querySelector(".muted")?.remove();
    this.screen.prepend(bubble);
  }

  async attempt(action) {
    try {
      await action();
      this.tell("");
    } catch (error) {
      this.tell(error.message);
    }
  }

  tell(text) {
    this.note.textContent = text;
  }

  say(state = this.client?.state ?? "offline") {
    const tones = { online: "good", syncing: "busy", connecting: "warn" };
    const words = !this.network ? "no network" : this.app === "closed" ? "app closed" : state;
    this.badge.textContent = words;
    this.badge.className = `badge tone-${this.network ? (tones[words] ?? "quiet") : "bad"}`;
    this.screen.classList.toggle("dim", this.app !== "open");
  }

  draw() {
    const name = this.platform === "ios" ? "iPhone" : "Android";
    this.badge = make("span", { class: "badge tone-quiet", role: "status" }, "offline");
    this.screen = make("div", { class: "phone-screen", tabindex: "0", role: "log", "aria-label": `Screen of ${this.device_id}` });
    this.screen.append(make("p", { class: "muted" }, "Nothing arrived yet."));
    this.note = make("p", { class: "lab-fault", role: "status" });
    const tick = (words, on, change) => {
      const box = make("input", { type: "checkbox", checked: on, onchange: () => this.attempt(() => change(box.checked)) });
      return make("label", {}, box, ` ${words}`);
    };
    const app = make("select", { "aria-label": `App on ${this.device_id}`, onchange: () => this.attempt(() => this.setApp(app.value)) },
      make("option", { value: "open" }, "App open"),
      make("option", { value: "background" }, "In background"),
      make("option", { value: "closed" }, "App closed"));
    const button = (words, action) => make("button", { type: "button", class: "plain-button", onclick: () => this.attempt(action) }, words);
    this.card = make("article", { class: "phone", "aria-label": `${name} of ${this.user_id}`, "data-device": this.device_id },
      make("div", { class: "phone-top" }, make("div", {}, make("strong", {}, `${name} · ${this.user_id}`), make("small", { class: "muted block" }, this.device_id)), this.badge),
      this.screen,
      make("div", { class: "phone-switches" },
        tick("Network", true, (on) => this.setNetwork(on)),
        tick("Acknowledges", true, (on) => this.setProves(on)),
        tick("Alerts allowed", true, (on) => this.setAlerts(on))),
      make("div", { class: "phone-buttons" }, app, button("Poll", () => this.poll()), button("Remove", () => this.remove())),
      this.note);
    const choose = () => chooseUser(this);
    this.card.addEventListener("focusin", choose);
    this.card.addEventListener("pointerdown", choose);
    document.getElementById("phones").append(this.card);
  }

  async remove() {
    this.disconnect();
    phones.splice(phones.indexOf(this), 1);
    this.card.remove();
    await ask("logout", this.identity());
  }
}

function chooseUser(phone) {
  for (const each of phones) each.card.classList.toggle("chosen", each.user_id === phone.user_id);
  const box = document.getElementById("phones");
  box.dispatchEvent(new CustomEvent("lab-user", { detail: { user_id: phone.user_id }, bubbles: true }));
}

async function lookForArrivals() {
  if (!phones.length || document.hidden) return;
  const tokens = phones.map((phone) => phone.push_token);
  const numbers = phones.map((phone) => phone.number).filter(Boolean);
  const found = await ask("arrivals", { tokens, numbers });
  for (const push of found.pushes) {
    const phone = phones.find((each) => each.push_token === push.token);
    if (phone) await phone.attempt(() => phone.wake(push));
  }
  for (const [number, texts] of Object.entries(found.texts)) {
    const phone = phones.find((each) => each.number === number);
    for (const text of texts) {
      if (phone.texts.has(text.sid) || new Date(text.at) < phone.since) continue;
      phone.texts.add(text.sid);
      phone.show({ path: "sms", title: `SMS from ${text.from}`, body: text.body, message_id: text.sid });
    }
  }
}

function begin() {
  const form = document.getElementById("add-phone");
  if (!form) return void setTimeout(begin, 100);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const fault = document.getElementById("lab-fault");
    const button = form.querySelector("button");
    button.disabled = true;
    fault.textContent = "";
    try {
      const made = await ask("phones", Object.fromEntries(new FormData(form)));
      document.getElementById("no-phones")?.remove();
      const phone = new Phone({ ...made, since: new Date(Date.now() - 1_000) });
      phones.push(phone);
      chooseUser(phone);
    } catch (error) {
      fault.textContent = error.message;
    } finally {
      button.disabled = false;
    }
  });
  const turn = () => lookForArrivals().catch(() => {}).finally(() => setTimeout(turn, ARRIVALS_MS));
  turn();
}

begin();
