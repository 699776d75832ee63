/** Colors of terminal output. Escape sequences become segments with classes; HTML is never made from text. */

export interface Segment {
  text: string;
  className: string;
  color?: string;
  background?: string;
}

interface Style {
  className: string;
  color: string;
  background: string;
}

const ESCAPE = "\u001b";
// Sequences other than colors: titles and links, cursor movements, character sets, modes.
const OTHER_SEQUENCES = new RegExp(
  [
    `${ESCAPE}\\][^\\u0007\\n${ESCAPE}]*(?:\\u0007|${ESCAPE}\\\\)`,
    `${ESCAPE}\\[[0-9;?]*[A-LN-Za-ln-z]`,
    `${ESCAPE}[()][A-Z0-9]`,
    `${ESCAPE}[=>78]`,
  ].join("|"),
  "g",
);
const COLOR_SEQUENCES = new RegExp(`${ESCAPE}\\[([0-9;:]*)m`, "g");
const RESET = new RegExp(`${ESCAPE}\\[0?m`, "g");
const START = `${ESCAPE}[`;

const COLORS = ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"];
const DECORATIONS: Record<number, string> = {
  1: "bold",
  2: "dim",
  3: "italic",
  4: "underline",
  7: "reverse",
  8: "hidden",
  9: "strikethrough",
};
const ENDS: Record<number, string[]> = {
  22: ["bold", "dim"],
  23: ["italic"],
  24: ["underline"],
  27: ["reverse"],
  28: ["hidden"],
  29: ["strikethrough"],
};

/** The colors and styles that are active at a position of a log. */
export interface AnsiState {
  readonly foreground: string;
  readonly background: string;
  readonly decorations: readonly string[];
}

export const NO_COLORS: AnsiState = { foreground: "", background: "", decorations: [] };

/** Return the colors at the end of a text. `start`: the colors at its start. */
export function stateAfter(text: string, start: AnsiState): AnsiState {
  if (!text.includes(START)) return start;
  let reset = -1;
  for (const { index } of text.matchAll(RESET)) reset = index;
  const reader = new AnsiReader(reset < 0 ? start : NO_COLORS);
  for (const [, parameters] of text.slice(Math.max(reset, 0)).matchAll(COLOR_SEQUENCES)) reader.apply(parameters ?? "");
  return reader.state;
}

export function isSameState(one: AnsiState, other: AnsiState): boolean {
  return (
    one.foreground === other.foreground &&
    one.background === other.background &&
    one.decorations.join() === other.decorations.join()
  );
}

/** Splits lines into segments. As in a terminal, a color stays active in the next lines. */
export class AnsiReader {
  private foreground: string;
  private background: string;
  private readonly decorations: Set<string>;
  private style: Style | null;

  constructor({ foreground, background, decorations }: AnsiState = NO_COLORS) {
    this.foreground = foreground;
    this.background = background;
    this.decorations = new Set(decorations);
    this.style = this.currentStyle();
  }

  get state(): AnsiState {
    return { foreground: this.foreground, background: this.background, decorations: [...this.decorations] };
  }

  /** Return the segments of a line, or null if it is plain. */
  read(line: string): Segment[] | null {
    if (this.style === null && !line.includes(ESCAPE)) return null;
    const text = line.replace(OTHER_SEQUENCES, "");
    const segments: Segment[] = [];
    let position = 0;
    for (;;) {
      const start = text.indexOf(START, position);
      const end = start < 0 ? -1 : text.indexOf("m", start);
      this.add(segments, end < 0 ? text.slice(position) : text.slice(position, start));
      if (end < 0) return segments;
      this.apply(text.slice(start + START.length, end));
      position = end + 1;
    }
  }

  private add(segments: Segment[], text: string): void {
    if (!text) return;
    const segment: Segment = { text, className: this.style?.className ?? "" };
    if (this.style?.color) segment.color = this.style.color;
    if (this.style?.background) segment.background = this.style.background;
    segments.push(segment);
  }

  /** Change the style by the parameters of a sequence. */
  apply(parameters: string): void {
    const codes = parameters.split(/[;:]/).map(Number);
    for (let index = 0; index < codes.length; index += 1) {
      const code = codes[index] ?? 0;
      if (code === 38 || code === 48) {
        const [color, used] = extendedColor(codes.slice(index + 1));
        if (code === 38) this.foreground = color;
        else this.background = color;
        index += used;
      } else this.applyCode(code);
    }
    this.style = this.currentStyle();
  }

  private applyCode(code: number): void {
    const name = COLORS[code % 10] ?? "";
    if (code === 0) {
      this.foreground = "";
      this.background = "";
      this.decorations.clear();
    } else if (DECORATIONS[code]) this.decorations.add(DECORATIONS[code]);
    else if (ENDS[code]) for (const decoration of ENDS[code]) this.decorations.delete(decoration);
    else if (code === 39) this.foreground = "";
    else if (code === 49) this.background = "";
    else if (code >= 30 && code < 38) this.foreground = `ansi-${name}`;
    else if (code >= 40 && code < 48) this.background = `ansi-${name}`;
    else if (code >= 90 && code < 98) this.foreground = `ansi-bright-${name}`;
    else if (code >= 100 && code < 108) this.background = `ansi-bright-${name}`;
  }

  private currentStyle(): Style | null {
    const { foreground, background, decorations } = this;
    if (!foreground && !background && decorations.size === 0) return null;
    const names: string[] = [];
    if (foreground.startsWith("ansi-")) names.push(foreground);
    if (background.startsWith("ansi-")) names.push(`${background}-bg`);
    for (const decoration of decorations) names.push(`ansi-${decoration}`);
    return {
      className: names.join(" "),
      color: foreground.startsWith("rgb") ? foreground : "",
      background: background.startsWith("rgb") ? background : "",
    };
  }
}

/** The color that the parameters after 38 or 48 select, and their number: `5;index` or `2;red;green;blue`. */
function extendedColor(codes: number[]): [string, number] {
  if (codes[0] === 5) return [paletteColor(codes[1] ?? 0), 2];
  if (codes[0] === 2)
    return [
      `rgb(${codes
        .slice(1, 4)
        .map((value) => Math.min(value || 0, 255))
        .join(", ")})`,
      4,
    ];
  return ["", 0];
}

/** A color of the 256-color palette: a class name for the first 16, otherwise a CSS color. */
function paletteColor(index: number): string {
  if (index < 16) return `ansi-${index > 7 ? "bright-" : ""}${COLORS[index % 8]}`;
  if (index >= 232) {
    const gray = 8 + (index - 232) * 10;
    return `rgb(${gray}, ${gray}, ${gray})`;
  }
  const level = (value: number) => (value ? 55 + value * 40 : 0);
  const cube = index - 16;
  return `rgb(${level(Math.floor(cube / 36))}, ${level(Math.floor(cube / 6) % 6)}, ${level(cube % 6)})`;
}

/** The text of a line without escape sequences. */
export function plainText(line: string): string {
  if (!line.includes(ESCAPE)) return line;
  return line.replace(OTHER_SEQUENCES, "").replace(COLOR_SEQUENCES, "");
}

/** Return the part of a line with carriage returns that a terminal shows at the end, as for a progress bar. */
export function lastState(line: string): string {
  const end = line.endsWith("\r") ? line.length - 1 : line.length;
  const start = line.lastIndexOf("\r", end - 1);
  return start < 0 && end === line.length ? line : line.slice(start + 1, end);
}
