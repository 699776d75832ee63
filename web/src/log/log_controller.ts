/** The controller of a log: passes lines from its source to its model and view. Updates the view once per frame. */
import { plainText } from "./ansi.ts";
import { type LineRange, readLineHash } from "./line_hash.ts";
import { LogModel, type SectionLines } from "./log_model.ts";
import { findMatches, type Match } from "./log_search.ts";
import { readLog } from "./log_source.ts";
import { LogView } from "./log_view.ts";
import { clearHighlights, paintMatches } from "./match_highlights.ts";

export interface LogStatus {
  total: number;
  /** Number of lines that have arrived. */
  received: number;
  isLoading: boolean;
  isFinished: boolean;
  isFollowing: boolean;
  /** Number of lines that arrived since the reader scrolled away from the end. */
  newLines: number;
  error: unknown;
}

const NUMBER_WIDTH = 72; // width in pixels of the line numbers; a click there selects the line
const STATUS_MS = 100;

export class LogController {
  readonly model = new LogModel();
  private readonly view: LogView;
  private readonly stopReading: () => void;
  private readonly pending = new Map<SectionLines, Set<number>>();
  private hasNewInfo = false;
  private frame = 0;
  private statusTimer = 0;
  private status: LogStatus = {
    total: 0,
    received: 0,
    isLoading: true,
    isFinished: false,
    isFollowing: false,
    newLines: 0,
    error: null,
  };
  private seenTotal = 0;
  private isOpened = false;
  private painted: { matches: Match[]; index: number } | null = null;

  constructor(
    private readonly scroller: HTMLElement,
    private readonly jobId: number,
    attempt: number,
    private readonly onStatus: (status: LogStatus) => void,
  ) {
    scroller.replaceChildren();
    this.view = new LogView(scroller, this.model, () => this.paintMatches());
    scroller.addEventListener("scroll", this.onScroll, { passive: true });
    window.addEventListener("keydown", this.onKey);
    this.stopReading = readLog(jobId, attempt, {
      onPage: (page) => {
        if (page.sections) {
          this.model.update(page.sections);
          this.hasNewInfo = true;
        }
        if (page.finished) this.model.finished = true;
        for (const chunk of page.chunks) {
          const { section, blocks } = this.model.append(chunk);
          const known = this.pending.get(section) ?? new Set<number>();
          for (const block of blocks) known.add(block);
          this.pending.set(section, known);
        }
        this.schedule();
      },
      target: () => {
        const number = this.targetNumber;
        return number === null ? null : this.model.positionOf(number);
      },
      onTarget: () => {
        this.paint();
        this.open();
      },
      onLoaded: () => {
        this.status.isLoading = false;
        this.paint();
        this.report();
      },
      onError: (error) => {
        this.status = { ...this.status, error, isLoading: false };
        this.report();
      },
    });
  }

  close(): void {
    this.stopReading();
    cancelAnimationFrame(this.frame);
    clearTimeout(this.statusTimer);
    clearHighlights();
    this.view.close();
    this.scroller.removeEventListener("scroll", this.onScroll);
    window.removeEventListener("keydown", this.onKey);
  }

  /**
   * The number of the line to show first: the selected one, the end of the first failed section, or the end of an
   * unfinished log. Null: the start of the log.
   */
  private get targetNumber(): number | null {
    const range = readLineHash(this.jobId);
    if (range) return range.first;
    const { failed, finished, total } = this.model;
    if (failed) return this.model.firstNumber(failed.info.index) + failed.length - 1;
    return finished ? null : total;
  }

  /** Scroll to the line to show first. */
  private open(): void {
    this.isOpened = true;
    const range = readLineHash(this.jobId);
    const target = this.targetNumber;
    if (range) this.view.mark(range);
    if (!this.model.finished && !range && !this.model.failed) this.follow();
    else if (target !== null) this.view.scrollToLine(target, range ? "middle" : "end");
  }

  private schedule(): void {
    if (!this.frame) this.frame = requestAnimationFrame(() => this.paint());
  }

  private paint(): void {
    cancelAnimationFrame(this.frame);
    this.frame = 0;
    if (this.pending.size) this.view.append(this.pending);
    this.pending.clear();
    if (this.status.isFollowing) this.view.colorEnd();
    if (this.hasNewInfo || this.status.isFollowing || this.model.finished) this.view.updateSections();
    this.hasNewInfo = false;
    if (this.status.isFollowing) this.view.scrollToEnd();
    this.reportSoon();
  }

  private reportSoon(): void {
    if (this.statusTimer) return;
    this.statusTimer = window.setTimeout(() => this.report(), STATUS_MS);
  }

  private report(): void {
    clearTimeout(this.statusTimer);
    this.statusTimer = 0;
    const { total, received, finished } = this.model;
    if (this.status.isLoading || this.status.isFollowing || finished) this.seenTotal = total;
    this.status = { ...this.status, total, received, isFinished: finished, newLines: total - this.seenTotal };
    this.onStatus(this.status);
  }

  private readonly onScroll = () => {
    if (!this.isOpened || this.model.finished) return;
    const isFollowing = this.view.isAtEnd;
    if (isFollowing === this.status.isFollowing) return;
    this.status.isFollowing = isFollowing;
    this.seenTotal = this.model.total;
    this.report();
  };

  private readonly onKey = (event: KeyboardEvent) => {
    const isSearch = (event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "f";
    if (isSearch || event.key === "F3") this.view.colorAll();
  };

  follow(): void {
    this.status.isFollowing = !this.model.finished;
    this.view.scrollToEnd();
    requestAnimationFrame(() => this.view.scrollToEnd());
    this.report();
  }

  toStart(): void {
    this.status.isFollowing = false;
    this.scroller.scrollTop = 0;
    this.report();
  }

  setTimes(isShown: boolean): void {
    this.view.showTimes(isShown);
  }

  mark(range: LineRange): void {
    this.view.mark(range);
  }

  /** The number of the line whose number was clicked, or null for a click elsewhere. */
  numberAt({ target, clientX }: MouseEvent): number | null {
    if (clientX - this.scroller.getBoundingClientRect().left > NUMBER_WIDTH) return null;
    return this.view.lineNumber(target as Node);
  }

  /** The text of a range of lines, or of all lines that have arrived, without colors. */
  text(range: LineRange | null): string {
    const lines: string[] = [];
    this.model.forEachBlock((block, first) => {
      const start = range ? Math.max(range.first - first, 0) : 0;
      const end = range ? Math.max(range.last - first + 1, 0) : block.length;
      for (const line of block.slice(start, end)) lines.push(plainText(line));
      return !range || first + block.length <= range.last;
    });
    return lines.join("\n");
  }

  find(text: string): Match[] {
    return findMatches(this.model, text);
  }

  /** Scroll to a match, and highlight the matches around it. */
  showMatch(matches: Match[], index: number): void {
    const match = matches[index];
    if (match) this.view.scrollToLine(match.line);
    this.painted = { matches, index };
    this.paintMatches();
  }

  private paintMatches(): void {
    if (!this.painted) return;
    const { matches, index } = this.painted;
    paintMatches(matches, index, (number) => this.view.coloredLineElement(number));
  }

  hideMatches(): void {
    this.painted = null;
    clearHighlights();
  }

  get firstVisibleNumber(): number {
    return this.view.firstVisibleNumber();
  }
}
