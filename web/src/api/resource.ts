/** Data of the API in components: loaded, kept fresh by live events, and kept on screen while it is loaded again. */
import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { type LiveEvent, subscribe } from "../live/events.ts";
import { ApiError } from "./client.ts";

const EVENT_DELAY_MS = 250; // events that arrive together cause one request

export interface Resource<T> {
  data: T | undefined;
  error: ApiError | undefined;
  isLoading: boolean;
  reload: () => void;
}

interface Options {
  /** Also reload when such an event arrives. Without it, data is reloaded only when events may have been missed. */
  refreshOn?: ((event: LiveEvent) => boolean) | undefined;
}

/**
 * Load data when the key changes, and again after live events. A `null` key loads nothing.
 *
 * Requests never overlap: changes that arrive during a request cause one more after it.
 */
export function useResource<T>(key: string | null, load: () => Promise<T>, options: Options = {}): Resource<T> {
  const [state, setState] = useState<{ key: string | null; data?: T | undefined; error?: ApiError | undefined }>({
    key,
  });
  const latest = useRef({ key, load, options });
  latest.current = { key, load, options };
  const progress = useRef({ isRunning: false, isStale: false });

  const reload = useCallback(async () => {
    if (progress.current.isRunning) {
      progress.current.isStale = true;
      return;
    }
    progress.current.isRunning = true;
    do {
      progress.current.isStale = false;
      const { key: requested, load: loadNow } = latest.current;
      if (requested === null) break;
      try {
        const data = await loadNow();
        if (latest.current.key === requested) setState({ key: requested, data });
      } catch (error) {
        if (latest.current.key === requested)
          setState((old) => ({
            key: requested,
            data: old.key === requested ? old.data : undefined,
            error: toApiError(error),
          }));
      }
      if (latest.current.key !== requested) progress.current.isStale = true;
    } while (progress.current.isStale);
    progress.current.isRunning = false;
  }, []);

  useEffect(() => void reload(), [key]);
  useEffect(() => {
    let timer = 0;
    const unsubscribe = subscribe((event) => {
      if (event !== null && !latest.current.options.refreshOn?.(event)) return;
      if (timer) return;
      timer = window.setTimeout(() => {
        timer = 0;
        void reload();
      }, EVENT_DELAY_MS);
    });
    return () => {
      clearTimeout(timer);
      unsubscribe();
    };
  }, []);

  const isCurrent = state.key === key;
  const data = isCurrent ? state.data : undefined;
  const error = isCurrent ? state.error : undefined;
  return { data, error, isLoading: key !== null && data === undefined && error === undefined, reload };
}

export function toApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  return new ApiError(0, "UNEXPECTED", error instanceof Error ? error.message : String(error));
}
