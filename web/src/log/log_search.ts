/** Search in the lines of a log that have arrived. */
import { plainText } from "./ansi.ts";
import type { LogModel } from "./log_model.ts";

export interface Match {
  /** Number of the line, from 1. */
  line: number;
  start: number;
  end: number;
}

export const MAX_MATCHES = 100_000;

/** Return the matches of a text, at most MAX_MATCHES. Case is ignored unless the text contains an upper-case letter. */
export function findMatches(model: LogModel, text: string): Match[] {
  const matches: Match[] = [];
  if (!text) return matches;
  const isExact = text !== text.toLowerCase();
  model.forEachBlock((lines, first) => {
    const block = plainText(lines.join("\n")); // one text is searched much faster than its lines
    const searched = isExact ? block : block.toLowerCase();
    if (!searched.includes(text)) return true;
    for (const [index, line] of searched.split("\n").entries())
      for (let start = line.indexOf(text); start >= 0; start = line.indexOf(text, start + text.length)) {
        matches.push({ line: first + index, start, end: start + text.length });
        if (matches.length >= MAX_MATCHES) return false;
      }
    return true;
  });
  return matches;
}

/** The index of the first match at or after a line, else 0. */
export function firstMatchFrom(matches: Match[], line: number): number {
  const index = matches.findIndex((match) => match.line >= line);
  return Math.max(index, 0);
}
