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
}

export type LineState = "offline" | "connecting" | "syncing" | "online";

export class Keepsake {
  constructor(notebook?: Notebook);
  cursor: string | null;
  readonly seen: Set<string>;
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
  /** Resolves with the close code that ended the line for good (4002, 4010), or null after `stop()`. */
  run(): Promise<number | null>;
  stop(): void;
  setForeground(foreground: boolean): void;
  renew(): Promise<void>;
}

export function pauseAfter(code: number, bye: Bye | null, failures: number, dice?: () => number): number | null;
