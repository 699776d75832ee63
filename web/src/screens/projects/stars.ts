/** Starred projects, which are listed first. They are stored in the browser. */
import { signal } from "@preact/signals";

const KEY = "headrace.stars";

const stars = signal(new Set<number>(read()));

function read(): number[] {
  try {
    const stored: unknown = JSON.parse(localStorage.getItem(KEY) ?? "[]");
    return Array.isArray(stored) ? stored.filter((id) => typeof id === "number") : [];
  } catch {
    return [];
  }
}

export function isStarred(id: number): boolean {
  return stars.value.has(id);
}

export function toggleStar(id: number): void {
  const changed = new Set(stars.peek());
  if (!changed.delete(id)) changed.add(id);
  stars.value = changed;
  localStorage.setItem(KEY, JSON.stringify([...changed]));
}
