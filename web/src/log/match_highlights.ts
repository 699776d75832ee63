/** Highlighting of matches with the CSS Custom Highlight API, which leaves the elements of the page unchanged. */
import type { Match } from "./log_search.ts";

const MAX_PAINTED = 1000; // number of matches highlighted on each side of the current one

export function clearHighlights(): void {
  if (!("highlights" in CSS)) return;
  CSS.highlights.delete("match");
  CSS.highlights.delete("current-match");
}

export function paintMatches(
  matches: Match[],
  current: number,
  lineElement: (number: number) => HTMLElement | null,
): void {
  clearHighlights();
  if (!("highlights" in CSS) || matches.length === 0) return;
  const ranges: Range[] = [];
  matches.slice(Math.max(0, current - MAX_PAINTED), current + MAX_PAINTED).forEach((match) => {
    const element = lineElement(match.line);
    const range = element && rangeOf(element, match.start, match.end);
    if (!range) return;
    if (match === matches[current]) CSS.highlights.set("current-match", new Highlight(range));
    else ranges.push(range);
  });
  CSS.highlights.set("match", new Highlight(...ranges));
}

/** The range of characters in the text of an element. */
function rangeOf(element: HTMLElement, start: number, end: number): Range | null {
  const range = document.createRange();
  const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  let offset = 0;
  let hasStart = false;
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const length = node.nodeValue?.length ?? 0;
    if (!hasStart && start < offset + length) {
      range.setStart(node, start - offset);
      hasStart = true;
    }
    if (hasStart && end <= offset + length) {
      range.setEnd(node, end - offset);
      return range;
    }
    offset += length;
  }
  return null;
}
