import { Button } from "./button.tsx";
import { showToast } from "./toasts.tsx";

export async function copyText(text: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
    showToast("Copied");
  } catch {
    showToast("The browser did not allow copying. Select the text instead.", "failure");
  }
}

/** A read-only text with a button that copies it. */
export function CopyField({ text, label, lines = false }: { text: string; label: string; lines?: boolean }) {
  return (
    <div class={lines ? "copy-field lines" : "copy-field"}>
      <code>{text}</code>
      <Button kind="quiet" icon="copy" label={`Copy ${label}`} onClick={() => void copyText(text)} />
    </div>
  );
}
