/** Keyboard shortcuts: the same on every screen, and others that a screen adds while it is shown. */
import { useEffect, useLayoutEffect } from "preact/hooks";
import { navigate, url } from "../router/location.ts";
import { isGoToOpen } from "./go_to.tsx";
import { isHelpOpen } from "./key_help.tsx";
import { DESTINATIONS } from "./navigation.ts";

export interface Key {
  /** The key, like `R` or `/`. */
  key: string;
  does: string;
  run: () => void;
}

const PREFIX_MS = 1500; // maximum time between `g` and the next key
const screenKeys = new Set<Key[]>();

/** Add the keyboard shortcuts of a screen, which the help lists while the screen is shown. */
export function useScreenKeys(keys: Key[]): void {
  // because useEffect runs after painting: a key pressed before that would use the previous state
  useLayoutEffect(() => {
    screenKeys.add(keys);
    return () => void screenKeys.delete(keys);
  });
}

export function listScreenKeys(): Key[] {
  return [...screenKeys].flat();
}

export function useKeys(): void {
  useEffect(() => {
    let prefixAt = 0;
    const onKey = (event: KeyboardEvent) => {
      if ((event.ctrlKey || event.metaKey) && event.key === "k") {
        event.preventDefault();
        isGoToOpen.value = !isGoToOpen.value;
        return;
      }
      if (
        event.ctrlKey ||
        event.metaKey ||
        event.altKey ||
        isTyping(event.target) ||
        document.querySelector("dialog[open]")
      )
        return;
      const isAfterPrefix = event.timeStamp - prefixAt < PREFIX_MS;
      prefixAt = 0;
      const destination = isAfterPrefix && DESTINATIONS.find(({ key }) => key === event.key);
      if (destination) navigate(url(destination.path));
      else if (runScreenKey(event.key)) event.preventDefault();
      else if (event.key === "g") prefixAt = event.timeStamp;
      else if (event.key === "?") isHelpOpen.value = true;
      else if (event.key === "j" || event.key === "k") moveInRows(event.key === "j" ? 1 : -1);
    };
    document.addEventListener("keydown", onKey);
    return () => document.removeEventListener("keydown", onKey);
  }, []);
}

function runScreenKey(pressed: string): boolean {
  const match = listScreenKeys().find(({ key }) => key === pressed);
  match?.run();
  return match !== undefined;
}

function isTyping(target: EventTarget | null): boolean {
  return (
    target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName))
  );
}

/** Focus the first link or button of the next or previous row. */
function moveInRows(step: 1 | -1): void {
  const rows = [...document.querySelectorAll<HTMLElement>("[data-row]")];
  const current = rows.findIndex((row) => row.contains(document.activeElement));
  const next =
    rows[current < 0 ? (step > 0 ? 0 : rows.length - 1) : Math.min(Math.max(current + step, 0), rows.length - 1)];
  next?.querySelector<HTMLElement>("a, button")?.focus();
}
