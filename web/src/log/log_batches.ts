/** The division of a long log into batches of lines that can be requested at the same time. */
import type { LogPosition, LogSection } from "../api/logs.ts";
import { BLOCK_LINES } from "./log_model.ts";

const BATCH_LINES = 5000; // number of lines of usual length that fit into one response

export interface Batch {
  start: LogPosition;
  /** The position after the batch; null: the end of the log. */
  end: LogPosition | null;
  lines: number;
}

/** Return the batches from a position to the end. Each begins at the start of a block, except for the first. */
export function planBatches(sections: Pick<LogSection, "index" | "lines">[], start: LogPosition): Batch[] {
  const batches: Batch[] = [];
  let batch: Batch = { start, end: null, lines: 0 };
  for (const { index, lines } of sections) {
    if (index < start.section) continue;
    for (let line = index === start.section ? start.from : 0; line < lines; ) {
      const next = Math.min(lines, (Math.floor(line / BLOCK_LINES) + 1) * BLOCK_LINES);
      batch.lines += next - line;
      line = next;
      if (batch.lines < BATCH_LINES) continue;
      // a section may end with an incomplete line that is not counted: it belongs to the batch with the lines before it
      batch.end = line === lines ? { section: index + 1, from: 0 } : { section: index, from: line };
      batches.push(batch);
      batch = { start: batch.end, end: null, lines: 0 };
    }
  }
  const last = batches.at(-1);
  if (batch.lines > 0 || !last) batches.push(batch);
  else last.end = null;
  return batches;
}

export function isBefore(one: LogPosition, other: LogPosition | null): boolean {
  if (!other) return true;
  return one.section < other.section || (one.section === other.section && one.from < other.from);
}

/** Whether a batch contains the line at a position. */
export function includes({ start, end }: Batch, position: LogPosition): boolean {
  return !isBefore(position, start) && isBefore(position, end);
}
