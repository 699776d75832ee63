/**
 * The lines of a log as elements of the page: chunks of 100 lines with `content-visibility: auto`.
 *
 * The browser lays out only the chunks near the viewport, but its search finds all text. No code measures single lines.
 */
import type { LineRange } from "./line_hash.ts";
import type { LogChunk } from "./log_chunk.ts";
import { BLOCK_LINES, type LogModel, type SectionLines } from "./log_model.ts";
import { LogSectionView } from "./log_section.ts";

const END_MARGIN = 12; // pixels left free below a line that is scrolled to the end of the view
const END_TOLERANCE = 40; // a smaller distance from the end, in pixels, counts as the end
const NEAR = "1500px 0px"; // margin around the viewport in which chunks are colored
const MAX_MARKED = 5000;
const MAX_COLORED_LINES = 150_000; // in longer logs, only chunks that were near the viewport are colored
const COLORING_MS = 8; // milliseconds of a frame that may be used for coloring

export class LogView {
  private readonly sections = new Map<number, LogSectionView>();
  private readonly chunks = new Map<Element, LogChunk>();
  private readonly nearness: IntersectionObserver;
  private marked: HTMLElement[] = [];
  private withTimes = false;

  constructor(
    private readonly scroller: HTMLElement,
    private readonly model: LogModel,
    private readonly onColored: () => void,
  ) {
    this.nearness = new IntersectionObserver((entries) => this.colorVisible(entries), {
      root: scroller,
      rootMargin: NEAR,
    });
  }

  close(): void {
    this.nearness.disconnect();
  }

  private colorVisible(entries: IntersectionObserverEntry[]): void {
    let isChanged = false;
    for (const { isIntersecting, target } of entries) {
      const chunk = this.chunks.get(target);
      if (isIntersecting && chunk) isChanged = this.color(chunk) || isChanged;
    }
    if (isChanged) this.onColored();
  }

  private color(chunk: LogChunk): boolean {
    this.nearness.unobserve(chunk.element);
    if (!chunk.color()) return false;
    if (this.withTimes) chunk.showTimes();
    return true;
  }

  /** Color all lines unless they are too many. Coloring a chunk later would lose a match of the browser's search. */
  colorAll(): void {
    if (this.model.total > MAX_COLORED_LINES) return;
    const waiting = [...this.chunks.values()].filter((chunk) => !chunk.isColored);
    const work = () => {
      const end = performance.now() + COLORING_MS;
      while (waiting.length && performance.now() < end) this.color(waiting.shift() as LogChunk);
      if (waiting.length && this.scroller.isConnected) requestAnimationFrame(work);
    };
    work();
  }

  /** Update the headings of all sections, and create the chunks for their lines. */
  updateSections(): void {
    let number = 1;
    for (const lines of this.model.sections) {
      this.require(lines).update(number);
      number += lines.length;
    }
  }

  /** Show the lines that have arrived in these blocks of sections. */
  append(grown: Map<SectionLines, Set<number>>): void {
    let number = 1;
    for (const lines of this.model.sections) {
      const section = this.require(lines);
      section.place(number);
      for (const index of grown.get(lines) ?? []) {
        section.updateBlock(index);
        if (this.withTimes) section.chunks[index]?.showTimes();
      }
      number += lines.length;
    }
  }

  private require(lines: SectionLines): LogSectionView {
    const { index } = lines.info;
    const known = this.sections.get(index);
    if (known) return known;
    const section = new LogSectionView(lines, (chunk) => {
      this.chunks.set(chunk.element, chunk);
      this.nearness.observe(chunk.element);
    });
    const later = [...this.sections.entries()]
      .filter(([other]) => other > index)
      .sort(([one], [other]) => one - other)[0];
    this.scroller.insertBefore(section.element, later?.[1].element ?? null);
    this.sections.set(index, section);
    return section;
  }

  private chunkOf(number: number): { chunk: LogChunk; offset: number } | null {
    const position = this.model.positionOf(number);
    const chunk = position && this.sections.get(position.section)?.chunks[Math.floor(position.from / BLOCK_LINES)];
    return chunk ? { chunk, offset: position.from % BLOCK_LINES } : null;
  }

  /** The element of a line, or null if it has not arrived. Colors the chunk of the line. */
  lineElement(number: number): HTMLElement | null {
    const place = this.chunkOf(number);
    if (!place) return null;
    this.color(place.chunk);
    return place.chunk.line(place.offset);
  }

  /** The element of a line, or null if its chunk is not colored yet. */
  coloredLineElement(number: number): HTMLElement | null {
    return this.chunkOf(number)?.chunk.isColored ? this.lineElement(number) : null;
  }

  /** The number of the line that contains a node, or null. */
  lineNumber(node: Node): number | null {
    const line = (node instanceof Element ? node : node.parentElement)?.closest(".log-line");
    const chunk = line?.parentElement;
    if (!line || !chunk) return null;
    return Number(chunk.dataset.first) + Array.prototype.indexOf.call(chunk.children, line);
  }

  /** The number of the first visible line, or 1. */
  firstVisibleNumber(): number {
    const { left, top } = this.scroller.getBoundingClientRect();
    for (let offset = 4; offset < 200; offset += 16) {
      const element = document.elementFromPoint(left + 80, top + offset);
      const number = element && this.lineNumber(element);
      if (number) return number;
    }
    return 1;
  }

  mark(range: LineRange | null): void {
    for (const line of this.marked) line.classList.remove("marked");
    this.marked = [];
    if (!range) return;
    const last = Math.min(range.last, range.first + MAX_MARKED);
    for (let number = range.first; number <= last; number += 1) {
      const line = this.lineElement(number);
      line?.classList.add("marked");
      if (line) this.marked.push(line);
    }
  }

  /** Open the section of a line, and scroll the log, but not the page. Does nothing if the line has not arrived. */
  scrollToLine(number: number, place: "middle" | "end" = "middle"): void {
    const line = this.lineElement(number);
    const section = line?.closest("details");
    if (!line || !section) return;
    section.open = true;
    const scroll = () => {
      const frame = this.scroller.getBoundingClientRect();
      const { top, height } = line.getBoundingClientRect();
      const wanted = place === "middle" ? frame.height / 2 : frame.height - height - END_MARGIN;
      this.scroller.scrollTop += top - frame.top - wanted;
    };
    scroll();
    requestAnimationFrame(scroll); // the chunks near the target are laid out, and change their height, only now
  }

  get isAtEnd(): boolean {
    const { scrollTop, clientHeight, scrollHeight } = this.scroller;
    return scrollHeight - scrollTop - clientHeight < END_TOLERANCE;
  }

  scrollToEnd(): void {
    this.scroller.scrollTop = this.scroller.scrollHeight;
  }

  setAllOpen(isOpen: boolean): void {
    for (const { element } of this.sections.values()) element.open = isOpen;
  }

  /** Color the last chunk, which is about to become visible. */
  colorEnd(): void {
    const section = this.model.sections.findLast(({ length }) => length > 0);
    const chunk = section && this.sections.get(section.info.index)?.chunks.at(-1);
    if (chunk) this.color(chunk);
  }

  /** Show or hide the times at which lines arrived. */
  showTimes(isShown: boolean): void {
    this.withTimes = isShown;
    this.scroller.classList.toggle("with-times", isShown);
    if (isShown) for (const chunk of this.chunks.values()) chunk.showTimes();
  }
}
