/** The color theme: light or dark. The default is the theme of the operating system. */
import { signal } from "@preact/signals";

export type Theme = "system" | "light" | "dark";

const KEY = "headrace.theme";

export const theme = signal<Theme>(read());

function read(): Theme {
  const stored = localStorage.getItem(KEY);
  return stored === "light" || stored === "dark" ? stored : "system";
}

export function setTheme(value: Theme): void {
  theme.value = value;
  if (value === "system") localStorage.removeItem(KEY);
  else localStorage.setItem(KEY, value);
  applyTheme();
}

export function applyTheme(): void {
  document.documentElement.dataset.theme = theme.peek();
}
