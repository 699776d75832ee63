/** Icons: 16 × 16 line drawings in the color of the text. Screen readers ignore them and read the text or the label. */
import type { Shape } from "../format/status.ts";

const PATHS = {
  home: "M2.5 7 8 2.5 13.5 7v6.5h-4V10h-3v3.5h-4z",
  projects: "M2.5 4.5v8h11v-6.5h-5.5l-1.5-1.5z",
  queue: "M3 4h10M3 8h10M3 12h6",
  runners: "M2.5 3h11v4h-11zM2.5 9h11v4h-11zM5 5h.01M5 11h.01",
  events: "M1.5 8h3l2-5 3 10 2-5h3",
  search: "M7 12A5 5 0 1 0 7 2a5 5 0 0 0 0 10zM14 14l-3.4-3.4",
  help: "M8 14A6 6 0 1 0 8 2a6 6 0 0 0 0 12zM6.3 6.2C6.5 5.2 7.2 4.8 8 4.8c1 0 1.8.7 1.8 1.6 0 1.3-1.8 1.4-1.8 2.6M8 11.2h.01",
  sun: "M8 11a3 3 0 1 0 0-6 3 3 0 0 0 0 6zM8 1v1.5M8 13.5V15M1 8h1.5M13.5 8H15M3 3l1.1 1.1M11.9 11.9 13 13M3 13l1.1-1.1M11.9 4.1 13 3",
  user: "M8 8a3 3 0 1 0 0-6 3 3 0 0 0 0 6zM2.5 14c.5-3 2.7-4.5 5.5-4.5s5 1.5 5.5 4.5",
  branch:
    "M4.5 5.5v5M4.5 5.5a1.5 1.5 0 1 0 0-3 1.5 1.5 0 0 0 0 3zM4.5 13.5a1.5 1.5 0 1 0 0-3 1.5 1.5 0 0 0 0 3zM11.5 6.5a1.5 1.5 0 1 0 0-3 1.5 1.5 0 0 0 0 3zM11.5 6.5c0 3-7 1.5-7 4",
  commit: "M8 10.5a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5zM1 8h4.5M10.5 8H15",
  copy: "M5.5 5.5v-3h8v8h-3M2.5 5.5h8v8h-8z",
  download: "M8 2v8M4.5 7 8 10.5 11.5 7M2.5 13.5h11",
  play: "M5 3l8 5-8 5z",
  retry: "M13 8a5 5 0 1 1-1.5-3.6M13 2v3h-3",
  cancel: "M4.5 4.5l7 7M11.5 4.5l-7 7",
  plus: "M8 3v10M3 8h10",
  chevron: "M6 3.5 10.5 8 6 12.5",
  down: "M3.5 6 8 10.5 12.5 6",
  up: "M3.5 10 8 5.5 12.5 10",
  external: "M6 3H3v10h10v-3M9 3h4v4M13 3 7.5 8.5",
  wrap: "M2.5 4h11M2.5 8h8.5a2 2 0 0 1 0 4.5H8M9.5 11 8 12.5 9.5 14M2.5 12h3",
  clock: "M8 14A6 6 0 1 0 8 2a6 6 0 0 0 0 12zM8 5v3.3l2 1.5",
  file: "M4 2h5l3 3v9H4zM9 2v3h3",
  key: "M10 9a3.5 3.5 0 1 0-3.3-2.3L2.5 11v2.5H5V12h1.5v-1.5z",
  people:
    "M6 7.5a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5zM1.5 13c.3-2.5 2-4 4.5-4s4.2 1.5 4.5 4M10.5 2.7a2.5 2.5 0 0 1 0 4.6M12 9.3c1.5.5 2.4 1.8 2.5 3.7",
  webhook: "M8 6 5 11M8 6a2.3 2.3 0 1 0-2-1.2M8 6l2.5 4.5M4 9a2.3 2.3 0 1 0 2.3 3H11M12 9a2.3 2.3 0 1 1-2 3.5",
  history: "M2.5 8a5.5 5.5 0 1 1 1.6 3.9M2.5 4v4h4M8 5.5V8l2 1.5",
  statistics: "M2.5 13.5h11M4 11V7M8 11V3M12 11V6",
  system: "M6 2.5h4v3H6zM1.5 10.5h4v3h-4zM10.5 10.5h4v3h-4zM8 5.5V8M3.5 10.5V8h9v2.5",
  settings:
    "M8 10a2 2 0 1 0 0-4 2 2 0 0 0 0 4zM8 1.5v2M8 12.5v2M1.5 8h2M12.5 8h2M3.4 3.4l1.4 1.4M11.2 11.2l1.4 1.4M3.4 12.6l1.4-1.4M11.2 4.8l1.4-1.4",
  dots: "M3.5 8h.01M8 8h.01M12.5 8h.01",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 16 16" aria-hidden="true" focusable="false">
      <path d={PATHS[name]} />
    </svg>
  );
}

const SHAPES: Record<Shape, string> = {
  check: "M4.7 8.3 7 10.6 11.3 5.8",
  cross: "M5.5 5.5l5 5M10.5 5.5l-5 5",
  alert: "M8 4.7v3.8M8 11h.01",
  ring: "",
  clock: "M8 5v3.2l2 1.3",
  slash: "M4.5 11.5l7-7",
  dot: "",
  play: "M6.6 5.3 10.8 8l-4.2 2.7z",
  skip: "M5 5.5 7.5 8 5 10.5M8.5 5.5 11 8l-2.5 2.5",
};
const OUTLINES: Partial<Record<Shape, string>> = {
  alert: "M8 1.8 14.7 13.7H1.3z",
  cross: "M5.3 1.5h5.4l3.8 3.8v5.4l-3.8 3.8H5.3l-3.8-3.8V5.3z",
};

/** The symbol of a status. Its shape tells success, failure, waiting and running apart without the color. */
export function StatusShape({ shape }: { shape: Shape }) {
  const outline = OUTLINES[shape];
  return (
    <svg class={`shape shape-${shape}`} viewBox="0 0 16 16" aria-hidden="true" focusable="false">
      {outline ? (
        <path class="outline" d={outline} />
      ) : (
        <circle class="outline" cx="8" cy="8" r={shape === "dot" ? 4 : 6.5} />
      )}
      {shape === "ring" && <circle class="progress" cx="8" cy="8" r="6.5" />}
      {SHAPES[shape] && <path class="sign" d={SHAPES[shape]} />}
    </svg>
  );
}
