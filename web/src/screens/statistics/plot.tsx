import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import { formatDuration } from "../../format/time.ts";
import { theme } from "../../layout/theme.ts";
import { daysRange } from "./totals.ts";

export interface Series {
  name: string;
  /** Name of the CSS custom property with the color. */
  color: string;
  values: (number | null)[];
  kind: "bars" | "line" | "dashes";
}

interface Props {
  label: string;
  /** ISO dates. */
  days: string[];
  series: Series[];
  unit: "builds" | "seconds";
}

const HEIGHT = 220;
const DAY = 86_400; // seconds
const DURATION_STEPS = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14_400, 43_200, DAY];
const dayFormat = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric" });

/** A plot over days. It is hidden from screen readers, which read the table with the same numbers. */
export function Plot({ label, days, series, unit }: Props) {
  const place = useRef<HTMLDivElement>(null);
  const chosenTheme = theme.value;
  useEffect(() => {
    const element = place.current;
    if (!element) return;
    const color = (name: string) => resolveColor(element, name);
    const times = days.map(seconds);
    const options: uPlot.Options = {
      width: element.clientWidth,
      height: HEIGHT,
      legend: { show: false },
      cursor: { drag: { x: false, y: false } },
      scales: {
        x: { time: true, range: () => daysRange(times) },
        y: { range: (_, __, max) => [0, Math.max(1, max * 1.1)] },
      },
      axes: [
        { ...axis(color), space: 70, incrs: [1, 2, 7, 14, 30, 61, 91].map((days) => days * DAY), values: formatDays },
        {
          ...axis(color),
          size: 64,
          incrs: unit === "seconds" ? DURATION_STEPS : [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000],
          values: (_, ticks) => ticks.map((tick) => (unit === "seconds" ? formatDuration(tick) : String(tick))),
        },
      ],
      series: [
        {},
        ...series.map(({ name, color: of, kind }) => ({
          label: name,
          stroke: color(of),
          width: kind === "bars" ? 0 : 1.5,
          spanGaps: true,
          points: { show: kind !== "bars" && days.length < 3 },
          ...(kind === "bars" ? { fill: color(of), paths: bars() } : {}),
          ...(kind === "dashes" ? { dash: [5, 4] } : {}),
        })),
      ],
    };
    const plot = new uPlot(options, [times, ...series.map(({ values }) => values)] as uPlot.AlignedData, element);
    const observer = new ResizeObserver(() => plot.setSize({ width: element.clientWidth, height: HEIGHT }));
    observer.observe(element);
    return () => {
      observer.disconnect();
      plot.destroy();
    };
  }, [days, series, chosenTheme]);
  return (
    <figure class="plot" aria-label={label}>
      <figcaption>
        {label}
        {series.map(({ name, color, kind }) => (
          <span key={name} class={`legend ${kind}`} style={{ "--series": `var(${color})` }}>
            <i /> {name}
          </span>
        ))}
      </figcaption>
      <div ref={place} aria-hidden="true" />
    </figure>
  );
}

function bars(): uPlot.Series.PathBuilder {
  return uPlot.paths.bars?.({ size: [0.7, 28] }) as uPlot.Series.PathBuilder;
}

function axis(color: (name: string) => string): uPlot.Axis {
  const grid = { stroke: color("--border"), width: 1 };
  return { stroke: color("--text-muted"), grid, ticks: { ...grid, size: 4 }, font: "12px system-ui, sans-serif" };
}

/** Return a custom property as a color for a canvas: `light-dark()` is resolved for the current theme. */
function resolveColor(element: HTMLElement, name: string): string {
  const before = element.style.color;
  element.style.color = `var(${name})`;
  const { color } = getComputedStyle(element);
  element.style.color = before;
  return color;
}

function formatDays(_: uPlot, ticks: number[]): string[] {
  return ticks.map((tick) => dayFormat.format(tick * 1000));
}

function seconds(day: string): number {
  return Date.parse(`${day.slice(0, 10)}T00:00:00`) / 1000;
}
