/** Server-sent events over `fetch`, which, unlike EventSource, allows any event name and reports the error status. */
import { type ApiError, readError } from "../api/client.ts";

export interface ServerEvent {
  id: string;
  name: string;
  data: string;
}

export interface StreamHandlers {
  onEvent: (event: ServerEvent) => void;
  onOpen?: () => void;
  /** Called after a lost connection (null) or an error response. Return false to stop; otherwise it reconnects. */
  onClose?: (error: ApiError | null) => boolean;
}

const MIN_PAUSE_MS = 500;
const MAX_PAUSE_MS = 15_000;
const EXPIRED = 410;
const SILENCE_MS = 40_000; // then the stream reconnects; the server sends a comment every 15 seconds

/** Call the function with each complete event of a text. Returns the text after the last one. */
export function parseEvents(text: string, onEvent: (event: ServerEvent) => void): string {
  const blocks = text.split(/\r?\n\r?\n/);
  const rest = blocks.pop() ?? "";
  for (const block of blocks) {
    const event = { id: "", name: "message", data: "" };
    const data: string[] = [];
    for (const line of block.split(/\r?\n/)) {
      const colon = line.indexOf(":");
      const value = line.slice(colon + 1).replace(/^ /, "");
      if (line.startsWith("data:")) data.push(value);
      else if (line.startsWith("event:")) event.name = value;
      else if (line.startsWith("id:")) event.id = value;
    }
    if (data.length) onEvent({ ...event, data: data.join("\n") });
  }
  return rest;
}

/** Open a stream that reconnects until the returned function is called or `onClose` returns false. */
export function openEventStream(url: string, handlers: StreamHandlers): () => void {
  const closing = new AbortController();
  let lastId = "";
  let pause = MIN_PAUSE_MS;

  async function readOnce(): Promise<ApiError | null> {
    const connection = new AbortController();
    const stop = () => connection.abort();
    closing.signal.addEventListener("abort", stop);
    let watchdog = 0;
    try {
      const headers: Record<string, string> = { Accept: "text/event-stream" };
      if (lastId) headers["Last-Event-ID"] = lastId;
      const response = await fetch(url, { headers, signal: connection.signal, credentials: "same-origin" });
      if (response.status === EXPIRED) lastId = ""; // the server no longer has the events since then: continue from now
      if (!response.ok || !response.body) return await readError(response);
      handlers.onOpen?.();
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let text = "";
      for (;;) {
        clearTimeout(watchdog);
        watchdog = window.setTimeout(stop, SILENCE_MS);
        const { value, done } = await reader.read();
        if (done) return null;
        pause = MIN_PAUSE_MS;
        text = parseEvents(text + value, (event) => {
          if (event.id) lastId = event.id;
          handlers.onEvent(event);
        });
      }
    } catch {
      return null; // a lost connection
    } finally {
      clearTimeout(watchdog);
      closing.signal.removeEventListener("abort", stop);
    }
  }

  async function run(): Promise<void> {
    while (!closing.signal.aborted) {
      const error = await readOnce();
      if (closing.signal.aborted || handlers.onClose?.(error) === false) return;
      await waitForRetry(pause * (0.75 + Math.random() / 2));
      pause = Math.min(pause * 2, MAX_PAUSE_MS);
    }
  }

  void run();
  return () => closing.abort();
}

/** Wait for some time, or until the browser is online again. */
async function waitForRetry(milliseconds: number): Promise<void> {
  await new Promise<void>((resolve) => {
    const end = () => {
      clearTimeout(timer);
      globalThis.removeEventListener?.("online", end);
      resolve();
    };
    const timer = setTimeout(end, milliseconds);
    globalThis.addEventListener?.("online", end);
  });
}
