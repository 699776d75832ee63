import { statusStyle } from "../format/status.ts";
import { StatusShape } from "./icons.tsx";

/** A status as symbol, color and word. With `compact` only the symbol is visible; screen readers read the word. */
export function StatusBadge({ status, compact = false, word }: { status: string; compact?: boolean; word?: string }) {
  const style = statusStyle(status);
  const text = word ?? style.word;
  return (
    <span class={`status tone-${style.tone}${compact ? " compact" : ""}`} title={compact ? text : undefined}>
      <StatusShape shape={style.shape} />
      <span class={compact ? "visually-hidden" : "word"}>{text}</span>
    </span>
  );
}
