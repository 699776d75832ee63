/** A section of a log in the document: its heading and its chunks. */
import { type AnsiState, isSameState, NO_COLORS, stateAfter } from "./ansi.ts";
import { LogChunk } from "./log_chunk.ts";
import { BLOCK_LINES, type SectionLines } from "./log_model.ts";
import { sectionSummary } from "./section_summary.ts";

const TIME = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });

export class LogSectionView {
  readonly element = document.createElement("details");
  readonly chunks: LogChunk[] = [];
  private readonly summary = document.createElement("summary");
  private readonly ends: (AnsiState | undefined)[] = []; // colors at the end of each complete block, if they are known

  constructor(
    readonly lines: SectionLines,
    private readonly onChunk: (chunk: LogChunk) => void,
  ) {
    this.element.className = "log-section";
    this.element.open = true;
    this.element.hidden = true;
    this.element.append(this.summary);
  }

  /** Update the heading of the section, and create the chunks for its lines. */
  update(firstNumber: number): void {
    const { info, length } = this.lines;
    const isHidden = length === 0 && info.start_at === null;
    if (this.element.hidden !== isHidden) this.element.hidden = isHidden;
    this.summary.replaceChildren(...sectionSummary(this.lines));
    this.place(firstNumber);
  }

  /** Create missing chunks, one per block, and set the number of each chunk's first line. */
  place(firstNumber: number): void {
    const { length } = this.lines;
    while (this.chunks.length * BLOCK_LINES < length) this.addChunk(this.chunks.length);
    if (length > 0) this.element.hidden = false;
    for (const [index, chunk] of this.chunks.entries())
      chunk.place(firstNumber + index * BLOCK_LINES, length - index * BLOCK_LINES);
  }

  private addChunk(index: number): void {
    const chunk = new LogChunk(
      () => this.lines.blocks[index] ?? [],
      () => this.stateBefore(index),
      (offset) => this.timeText(index * BLOCK_LINES + offset),
    );
    this.chunks.push(chunk);
    this.element.append(chunk.element);
    this.onChunk(chunk);
  }

  /** Show the lines of a block that arrived since the last call. If it is complete, correct the colors after it. */
  updateBlock(index: number): void {
    this.chunks[index]?.update();
    if (this.lines.blocks[index]?.length !== BLOCK_LINES) return;
    for (const [later, chunk] of this.chunks.entries())
      if (later > index && chunk.isColored) chunk.recolor((start) => isSameState(start, this.stateBefore(later)));
  }

  /** The colors at the start of a block. Lines that have not arrived count as lines without colors. */
  private stateBefore(index: number): AnsiState {
    let known = index;
    while (known > 0 && !this.ends[known - 1]) known -= 1;
    let state = this.ends[known - 1] ?? NO_COLORS;
    let isComplete = true;
    for (let block = known; block < index; block += 1) {
      const lines = this.lines.blocks[block] ?? [];
      state = stateAfter(lines.join("\n"), state);
      isComplete &&= lines.length === BLOCK_LINES;
      if (isComplete) this.ends[block] = state;
    }
    return state;
  }

  private timeText(line: number): string {
    const at = this.lines.timeOf(line);
    return at && TIME.format(new Date(at));
  }
}
