/**
 * A block of lines of a log, as elements of the page.
 *
 * Far from the viewport it is one text node, which is cheap and which the browser's search finds. Near the viewport, each
 * line is an element with colored parts.
 */
import { AnsiReader, type AnsiState, plainText } from "./ansi.ts";
import { BLOCK_LINES } from "./log_model.ts";

export class LogChunk {
  readonly element = document.createElement("div");
  private reader: AnsiReader | null = null; // null: the chunk is plain text
  private start: AnsiState | null = null;
  private shown = 0;
  private first = 0;
  private height = 0;

  constructor(
    private readonly lines: () => readonly string[],
    private readonly startState: () => AnsiState,
    private readonly timeText: (offset: number) => string,
  ) {
    this.element.className = "log-chunk plain";
  }

  get isColored(): boolean {
    return this.reader !== null;
  }

  /** Set the number of the first line, and the height for the number of lines that the chunk will have. */
  place(first: number, expected: number): void {
    const height = Math.min(Math.max(expected, this.lines().length), BLOCK_LINES);
    if (height !== this.height) this.element.style.setProperty("--lines", String(height));
    this.height = height;
    if (first === this.first) return;
    this.first = first;
    this.element.dataset.first = String(first);
    this.placeCounter();
  }

  /** Set the counter of line numbers. Each chunk needs its own, because the browser lays out each chunk separately. */
  private placeCounter(): void {
    if (this.reader && this.shown) (this.element.firstChild as HTMLElement).style.counterSet = `line ${this.first}`;
  }

  /** Show the lines that have arrived since the last call. */
  update(): void {
    const lines = this.lines();
    if (lines.length === this.shown) return;
    const added = lines.slice(this.shown);
    if (this.reader) {
      const fragment = document.createDocumentFragment();
      for (const line of added) fragment.append(this.createLine(line, this.reader));
      this.element.append(fragment);
    } else this.element.append(`${plainText(added.join("\n"))}\n`);
    const isFirst = this.shown === 0;
    this.shown = lines.length;
    if (isFirst) this.placeCounter();
  }

  /** Replace the text with one element per line. Return false if the chunk was colored before. */
  color(): boolean {
    if (this.reader) return false;
    this.start = this.startState();
    this.reader = new AnsiReader(this.start);
    this.element.classList.remove("plain");
    this.element.replaceChildren();
    this.shown = 0;
    this.update();
    return true;
  }

  /** Color the lines again if the preceding lines now end in a different ANSI state than when these were colored. */
  recolor(isSame: (start: AnsiState) => boolean): void {
    if (!this.start || isSame(this.start)) return;
    this.reader = null;
    this.color();
  }

  /** The element of a line, or null if the line has not arrived. Colors the chunk. */
  line(offset: number): HTMLElement | null {
    this.color();
    return (this.element.children[offset] as HTMLElement | undefined) ?? null;
  }

  showTimes(): void {
    if (!this.reader) return;
    let offset = 0;
    for (const line of this.element.children) (line as HTMLElement).dataset.time = this.timeText(offset++);
  }

  private createLine(text: string, reader: AnsiReader): HTMLElement {
    const line = document.createElement("span");
    line.className = "log-line";
    const segments = reader.read(text);
    if (segments === null) {
      line.textContent = text;
      return line;
    }
    for (const { text: part, className, color, background } of segments) {
      if (!className && !color && !background) {
        line.append(part);
        continue;
      }
      const span = document.createElement("span");
      if (className) span.className = className;
      if (color) span.style.color = color;
      if (background) span.style.backgroundColor = background;
      span.textContent = part;
      line.append(span);
    }
    return line;
  }
}
