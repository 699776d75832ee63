/** The source of a log's lines: first the existing lines, page by page, then new ones from a stream. */
import {
  getLogLines,
  type LogChunk,
  type LogPage,
  type LogPosition,
  type LogSection,
  logStreamUrl,
} from "../api/logs.ts";
import { openEventStream } from "../live/event_stream.ts";
import { type Batch, includes, isBefore, planBatches } from "./log_batches.ts";

const FIRST_LINES = 3000; // lines of the first request: all of most logs, and the start of a long log arrives soon
const MAX_LINES = 10_000; // maximum number of lines in one response
const CONCURRENT_READS = 3;

export interface LogHandlers {
  onPage: (page: Pick<LogPage, "finished" | "chunks"> & { sections?: LogSection[] }) => void;
  /** Return the position to load first, or null for the start. Called when the sections are known. */
  target: () => LogPosition | null;
  /** Called when the lines around the target have been passed to `onPage`. */
  onTarget: () => void;
  /** Called when all lines that existed at the start have been passed to `onPage`. */
  onLoaded: () => void;
  onError: (error: unknown) => void;
}

interface StreamedLines {
  attempt: number;
  finished: boolean;
  chunks: LogChunk[];
}

/** Read the log of an attempt of a job until it is complete, a request fails, or the returned function is called. */
export function readLog(jobId: number, attempt: number, handlers: LogHandlers): () => void {
  let isClosed = false;
  let closeStream = () => {};

  async function read(): Promise<void> {
    const first = await getPage({ section: 0, from: 0 }, FIRST_LINES);
    let { next, finished } = first;
    if (first.more && !isClosed) {
      const batches = planBatches(first.sections, next);
      const target = handlers.target();
      const wanted = batches.findIndex((batch) => target && includes(batch, target));
      if (wanted > 0) batches.unshift(...batches.splice(wanted, 1));
      const ends = wanted >= 0 ? [await readBatch(batches.shift() as Batch)] : [];
      if (!isClosed) handlers.onTarget();
      await Promise.all(
        Array.from({ length: CONCURRENT_READS }, async () => {
          for (let batch = batches.shift(); batch && !isClosed; batch = batches.shift())
            ends.push(await readBatch(batch));
        }),
      );
      for (const end of ends) if (isBefore(next, end.next)) ({ next, finished } = end);
    } else if (!isClosed) handlers.onTarget();
    if (isClosed) return;
    handlers.onLoaded();
    if (!finished) follow(next);
  }

  async function readBatch({ start, end, lines }: Batch): Promise<LogPage> {
    let page = await getPage(start, lines + 1);
    while (page.more && isBefore(page.next, end) && !isClosed) page = await getPage(page.next, end ? lines : MAX_LINES);
    return page;
  }

  async function getPage(position: LogPosition, limit: number): Promise<LogPage> {
    const page = await getLogLines(jobId, { attempt, ...position, limit: Math.min(limit, MAX_LINES) });
    if (!isClosed) handlers.onPage(page);
    return page;
  }

  function follow({ section, from }: LogPosition): void {
    closeStream = openEventStream(logStreamUrl(jobId, attempt, section, from), {
      onEvent({ name, data }) {
        if (name === "lines") handlers.onPage(JSON.parse(data) as StreamedLines);
        else if (name === "sections")
          handlers.onPage({
            finished: false,
            chunks: [],
            sections: (JSON.parse(data) as { sections: LogSection[] }).sections,
          });
        else if (name === "end") {
          handlers.onPage({ finished: true, chunks: [] });
          closeStream();
        }
      },
      onClose(error) {
        if (error && error.status >= 400 && error.status < 500) {
          handlers.onError(error);
          return false;
        }
        return true;
      },
    });
  }

  read().catch((error: unknown) => !isClosed && handlers.onError(error));
  return () => {
    isClosed = true;
    closeStream();
  };
}
