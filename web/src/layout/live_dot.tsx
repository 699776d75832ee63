import { now } from "../components/clock.ts";
import { formatDuration } from "../format/time.ts";
import { liveStatus } from "../live/events.ts";

const TOLERATED_LOSS_MS = 1500; // shorter interruptions are not shown

/** The indicator that shows whether live events arrive. */
export function LiveDot() {
  const { state, since } = liveStatus.value;
  const isShortLoss = state === "offline" && now.value - since < TOLERATED_LOSS_MS;
  const shown = isShortLoss ? "connecting" : state;
  const text = {
    connected: "Live",
    connecting: "Connecting",
    offline: `Offline for ${formatDuration((now.value - since) / 1000)}`,
  }[shown];
  return (
    <span
      class={`live-dot ${shown}`}
      role="status"
      title={
        shown === "offline"
          ? "Reconnecting. What you see is refreshed every 30 seconds."
          : "Changes appear as they happen."
      }
    >
      <span class="dot" aria-hidden="true" />
      <span class="words">{text}</span>
    </span>
  );
}
