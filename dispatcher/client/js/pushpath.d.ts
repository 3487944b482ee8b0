export interface Msg {
  t: "msg";
  cursor: string;
  delivery_id: string;
  attempt_id: string;
  message_id: string;
  class: string;
  notification: Record<string, unknown> | null;
  data: Record<string, unknown> | null;
  sent_at: string;
}

export interface Bye {
  t: "bye";
  code: string;
  retry_after_s?: number;
}

export interface Notebook {
  cursor?: string | null;
  seen?: string[];
  heartbeat?: Record<string, Learned>;
}

/** What is known of one network, in seconds. */
export interface Learned {
  good_s: number;
  trying_s: number;
  settled: boolean;
  failures: number;
}

export class Heartbeat {
  constructor(learned?: Record<string, Learned>);
  readonly learned: Record<string, Learned>;
  interval(network: string, foreground: boolean): number;
  succeeded(network: string, seconds: number): void;
  failed(network: string, seconds: number): void;
}

export class PushpathError extends Error {
  readonly status: number;
  readonly code: string;
  readonly detail: string;
  readonly retryAfterS: number | null;
}

export interface Receipt {
  delivery_id?: string;
  message_id?: string;
  event: "delivered" | "displayed" | "opened";
  via?: string;
  attempt_id?: string;
  at?: string;
}

export type LineState = "offline" | "connecting" | "syncing" | "online" | "polling";

export class Keepsake {
  constructor(notebook?: Notebook);
  cursor: string | null;
  readonly seen: Set<string>;
  readonly heartbeat: Heartbeat;
  notebook(): Required<Notebook>;
}

export interface DeviceOptions {
  /** Asked for a device token whenever one is needed. */
  token: () => Promise<string>;
  /** Stores and shows a message; once it resolves, the message is acknowledged and never handed over again. */
  onMessage: (message: Msg) => void | Promise<void>;
  onRecall?: (messageId: string) => void | Promise<void>;
  onChange?: (state: LineState) => void;
  keepsake?: Keepsake;
  foreground?: boolean;
  /** The HTTP API's address, without a path. With it the client polls while the line will not hold. */
  apiUrl?: string | null;
  /** Names the network the device is in: heartbeats are learned for each. */
  network?: string;
  /** The platform's own by default. */
  fetch?: typeof fetch;
  /** The WebSocket class; the platform's own by default. */
  WebSocket?: new (url: string, protocols?: string[]) => WebSocket;
  dice?: () => number;
}

export class DeviceClient {
  constructor(gatewayUrl: string, options: DeviceOptions);
  readonly state: LineState;
  /** Older messages wait in the inbox's pages. */
  readonly more: boolean;
  readonly keepsake: Keepsake;
  /** May be set whenever the device changes networks. */
  network: string;
  /** Resolves with the close code that ended the line for good (4002, 4010), or null after `stop()`. */
  run(): Promise<number | null>;
  stop(): void;
  register(userId: string, deviceId: string, platform: string, facts?: Record<string, unknown>): Promise<void>;
  receipts(receipts: Receipt[]): Promise<{ accepted: number; unknown: number; duplicate: number }>;
  pull(): Promise<number>;
  setForeground(foreground: boolean): void;
  renew(): Promise<void>;
}

export function pauseAfter(code: number, bye: Bye | null, failures: number, dice?: () => number): number | null;
