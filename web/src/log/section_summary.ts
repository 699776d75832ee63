/** The heading of a log section: name, result, lines, duration. */

import { plural } from "../format/text.ts";
import { formatDuration, secondsBetween } from "../format/time.ts";
import type { SectionLines } from "./log_model.ts";

export function sectionSummary({ info, length }: SectionLines): HTMLElement[] {
  const parts = [part("section-name", info.name || "output")];
  const [className, text] = result(info);
  if (text) parts.push(part(`section-result ${className}`, text));
  const seconds = secondsBetween(info.start_at, info.closed_at);
  const facts = [plural(length, "line")];
  if (seconds !== null && info.closed_at) facts.push(formatDuration(seconds));
  parts.push(part("section-facts", facts.join(", ")));
  return parts;
}

function result({ success, skipped, timed_out, closed_at, start_at }: SectionLines["info"]): [string, string] {
  if (timed_out) return ["tone-failure", "✕ timed out"];
  if (skipped) return ["tone-neutral", "⤼ skipped"];
  if (success === false) return ["tone-failure", "✕ failed"];
  if (success) return ["tone-success", "✓ passed"];
  return start_at && !closed_at ? ["tone-running", "◌ running"] : ["", ""];
}

function part(className: string, text: string): HTMLElement {
  const element = document.createElement("span");
  element.className = className;
  element.textContent = text;
  return element;
}
