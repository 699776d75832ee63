/** The entries of the navigation bar. Add a screen here if users should find it there. */
import type { IconName } from "../components/icons.tsx";

export interface Destination {
  name: string;
  path: string;
  icon: IconName;
  /** The key that follows `g`. */
  key?: string;
  forAdministrators?: boolean;
  /** Paths of further screens for which this entry is highlighted. */
  others?: string[];
}

export const DESTINATIONS: Destination[] = [
  { name: "Home", path: "/", icon: "home", key: "h" },
  { name: "Projects", path: "/projects", icon: "projects", key: "p" },
  { name: "Queue", path: "/queue", icon: "queue", key: "q" },
  { name: "Runners", path: "/runners", icon: "runners", key: "r" },
  { name: "Statistics", path: "/statistics", icon: "statistics", key: "s" },
  { name: "Events", path: "/events", icon: "events", key: "e" },
  { name: "Secrets", path: "/secrets", icon: "key", forAdministrators: true, others: ["/credentials", "/executors"] },
  { name: "People", path: "/people", icon: "people", forAdministrators: true, others: ["/companies"] },
  { name: "Webhooks", path: "/webhooks", icon: "webhook", forAdministrators: true },
  { name: "History", path: "/history", icon: "history", forAdministrators: true },
  { name: "System", path: "/system", icon: "system", forAdministrators: true },
  { name: "Settings", path: "/settings", icon: "settings", forAdministrators: true },
];

export function isWithin(path: string, destination: Destination): boolean {
  if (destination.path === "/") return path === "/";
  if (destination.path === "/projects" && path.startsWith("/builds/")) return true;
  if (destination.others?.includes(path)) return true;
  return path === destination.path || path.startsWith(`${destination.path}/`);
}
