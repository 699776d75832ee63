/** The lines of a log in memory, by section and block. Line numbers count from 1 over all sections. */
import type { LogChunk, LogPosition, LogSection } from "../api/logs.ts";
import { lastState } from "./ansi.ts";

export const BLOCK_LINES = 100;

/** Lines of a section, in blocks. Blocks are loaded in any order, the lines of a block in sequence. */
export class SectionLines {
  readonly blocks: string[][] = [];
  /** Arrival times, by the index of the first line that arrived then. */
  readonly times: LogChunk["times"] = [];

  constructor(public info: LogSection) {}

  /** Add lines and return the indexes of the changed blocks. Ignores lines that exist, and lines after a gap. */
  append({ from, lines, times }: LogChunk): number[] {
    const grown: number[] = [];
    for (let at = 0; at < lines.length; ) {
      const index = Math.floor((from + at) / BLOCK_LINES);
      const offset = (from + at) % BLOCK_LINES;
      const end = Math.min(lines.length, at + BLOCK_LINES - offset);
      const block = this.block(index);
      const known = block.length - offset;
      if (known >= 0 && at + known < end) {
        for (let next = at + known; next < end; next += 1) {
          const line = lines[next] ?? "";
          block.push(line.includes("\r") ? lastState(line) : line);
        }
        grown.push(index);
      }
      at = end;
    }
    if (grown.length) this.addTimes(times);
    return grown;
  }

  private addTimes(times: LogChunk["times"]): void {
    const last = this.times.at(-1)?.line ?? -1;
    this.times.push(...times);
    if ((times[0]?.line ?? 0) <= last) this.times.sort((one, other) => one.line - other.line);
  }

  private block(index: number): string[] {
    while (this.blocks.length <= index) this.blocks.push([]);
    return this.blocks[index] as string[];
  }

  /** How many lines have arrived. */
  get received(): number {
    return this.blocks.reduce((sum, block) => sum + block.length, 0);
  }

  /** The number of lines that the server has reported. Some of them may not have arrived yet. */
  get length(): number {
    const last = this.blocks.length - 1;
    return Math.max(this.info.lines, last < 0 ? 0 : last * BLOCK_LINES + (this.blocks[last]?.length ?? 0));
  }

  /** The time at which a line arrived at the server, or an empty text. */
  timeOf(line: number): string {
    return this.times.findLast((time) => time.line <= line)?.at ?? "";
  }
}

export class LogModel {
  readonly sections: SectionLines[] = [];
  finished = false;

  /** Update the names, results and lengths of sections. */
  update(infos: LogSection[]): void {
    for (const info of infos) {
      const section = this.sections.find((one) => one.info.index === info.index);
      if (section) section.info = info;
      else this.sections.push(new SectionLines(info));
    }
    this.sections.sort((one, other) => one.info.index - other.info.index);
  }

  /** Add lines and return their section with the changed blocks. */
  append(chunk: LogChunk): { section: SectionLines; blocks: number[] } {
    const section = this.require(chunk.section);
    return { section, blocks: section.append(chunk) };
  }

  private require(index: number): SectionLines {
    const found = this.sections.find(({ info }) => info.index === index);
    if (found) return found;
    this.update([
      { index, name: "", lines: 0, start_at: null, closed_at: null, success: null, skipped: null, timed_out: false },
    ]);
    return this.require(index);
  }

  /** The number of the first line of a section. */
  firstNumber(index: number): number {
    let number = 1;
    for (const section of this.sections) {
      if (section.info.index >= index) break;
      number += section.length;
    }
    return number;
  }

  /** The section that contains a line number, and the index of the line in it. Null: the log has no such line. */
  positionOf(number: number): LogPosition | null {
    let first = 1;
    for (const { info, length } of this.sections) {
      if (number < first + length) return { section: info.index, from: number - first };
      first += length;
    }
    return null;
  }

  section(index: number): SectionLines | undefined {
    return this.sections.find(({ info }) => info.index === index);
  }

  get total(): number {
    return this.sections.reduce((sum, { length }) => sum + length, 0);
  }

  get received(): number {
    return this.sections.reduce((sum, { received }) => sum + received, 0);
  }

  /** Call the function with each block and the number of its first line, until it returns false. */
  forEachBlock(visit: (lines: readonly string[], first: number) => boolean): void {
    let first = 1;
    for (const { blocks, length } of this.sections) {
      for (const [index, block] of blocks.entries()) if (!visit(block, first + index * BLOCK_LINES)) return;
      first += length;
    }
  }

  /** The first failed section that has lines. */
  get failed(): SectionLines | undefined {
    return this.sections.find(({ info, length }) => info.success === false && length > 0);
  }
}
