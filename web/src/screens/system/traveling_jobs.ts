/** The animation of job events on the map: each event moves a small square between two boxes. */
import type { LiveEvent } from "../../live/events.ts";
import { GATEWAY, type MapLayout, serviceBox } from "./map_layout.ts";

const MIN_PAUSE_MS = 50; // at most 20 squares per second
const TRAVEL_MS = 900;
const SVG = "http://www.w3.org/2000/svg";
const ROUTES: Record<string, [from: string, to: string, tone: string]> = {
  JobQueued: [serviceBox("builds"), "queue", "tone-waiting"],
  JobAssigned: ["queue", "runners", "tone-running"],
  JobFinished: ["runners", serviceBox(GATEWAY), "tone-success"],
};
let lastAt = 0;

/** Animate an event, unless the user prefers reduced motion or too many squares move already. */
export function showTravel(svg: SVGSVGElement, layout: MapLayout, { type, data }: LiveEvent): void {
  const route = ROUTES[type];
  if (!route || matchMedia("(prefers-reduced-motion: reduce)").matches) return;
  const now = performance.now();
  if (now - lastAt < MIN_PAUSE_MS) return;
  const [from, to] = [layout.boxes.get(route[0]), layout.boxes.get(route[1])];
  if (!from || !to) return;
  lastAt = now;
  const square = document.createElementNS(SVG, "rect");
  const hasFailed = type === "JobFinished" && data.outcome !== undefined && data.outcome !== "SUCCESS";
  square.setAttribute("class", `traveler ${hasFailed ? "tone-failure" : route[2]}`);
  for (const [name, value] of Object.entries({ width: 10, height: 10, rx: 2, x: -5, y: -5 }))
    square.setAttribute(name, String(value));
  svg.append(square);
  const at = (box: typeof from) => `translate(${box.x + box.width / 2}px, ${box.y + box.height / 2}px)`;
  const travel = square.animate([{ transform: at(from) }, { transform: at(to) }], {
    duration: TRAVEL_MS,
    easing: "ease-in-out",
  });
  travel.onfinish = travel.oncancel = () => square.remove();
}
