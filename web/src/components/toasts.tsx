/** Short messages about the result of an action. Errors stay until they are dismissed or newer ones replace them. */
import { signal } from "@preact/signals";
import { Icon } from "./icons.tsx";

interface Toast {
  id: number;
  text: string;
  tone: "success" | "failure";
}

const SHOWN_MS = 5000;
const MAX_TOASTS = 4;
const toasts = signal<Toast[]>([]);
let count = 0;

export function showToast(text: string, tone: Toast["tone"] = "success"): void {
  count += 1;
  const id = count;
  toasts.value = [...toasts.value, { id, text, tone }].slice(-MAX_TOASTS);
  if (tone === "success") setTimeout(() => dismiss(id), SHOWN_MS);
}

function dismiss(id: number): void {
  toasts.value = toasts.value.filter((toast) => toast.id !== id);
}

export function Toasts() {
  return (
    <div class="toasts" role="status" aria-live="polite">
      {toasts.value.map(({ id, text, tone }) => (
        <div key={id} class={`toast tone-${tone}`}>
          <span>{text}</span>
          <button type="button" class="button quiet icon-only" aria-label="Dismiss" onClick={() => dismiss(id)}>
            <Icon name="cancel" />
          </button>
        </div>
      ))}
    </div>
  );
}
