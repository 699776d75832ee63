/** The current time for relative times and running durations. One timer for all of them. */
import { signal } from "@preact/signals";

export const now = signal(Date.now());
setInterval(() => {
  if (document.visibilityState === "visible") now.value = Date.now();
}, 1000);
document.addEventListener("visibilitychange", () => {
  now.value = Date.now();
});
