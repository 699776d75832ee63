/** The current URL. Every view has a URL of its own, and links are ordinary `<a href>` elements. */
import { signal } from "@preact/signals";

export const BASE = "/ui";

/** The path below `/ui`, like `/builds/17`, and the query. */
export interface Location {
  path: string;
  query: URLSearchParams;
}

export const location = signal<Location>(read());

function read(): Location {
  const { pathname, search } = window.location;
  return { path: pathname.slice(BASE.length).replace(/\/+$/, "") || "/", query: new URLSearchParams(search) };
}

/** Return the URL of a view, for `href`. Parameters without a value are left out. */
export function url(
  path: string,
  parameters: Record<string, string | number | boolean | null | undefined> = {},
): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters))
    if (value !== null && value !== undefined && value !== "" && value !== false) query.set(name, String(value));
  const text = query.toString();
  return BASE + path + (text ? `?${text}` : "");
}

export function navigate(to: string, { replace = false } = {}): void {
  if (replace) history.replaceState(null, "", to);
  else history.pushState(null, "", to);
  const before = location.peek().path;
  location.value = read();
  if (location.peek().path !== before) window.scrollTo(0, 0);
}

/** Change parameters of the query; null or an empty text removes one. The others stay. */
export function setQuery(changes: Record<string, string | number | null>, { replace = true } = {}): void {
  const parameters = Object.fromEntries(location.peek().query);
  navigate(url(location.peek().path === "/" ? "/" : location.peek().path, { ...parameters, ...changes }), { replace });
}

window.addEventListener("popstate", () => {
  location.value = read();
});

document.addEventListener("click", (event) => {
  if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey)
    return;
  const link = (event.target as Element).closest?.("a");
  if (!link || link.target || link.hasAttribute("download") || link.origin !== window.location.origin) return;
  if (link.pathname !== BASE && !link.pathname.startsWith(`${BASE}/`)) return;
  if (link.pathname === `${BASE}/licenses`) return;
  if (link.hash && link.pathname === window.location.pathname && link.search === window.location.search) return;
  event.preventDefault();
  navigate(link.pathname + link.search + link.hash);
});
