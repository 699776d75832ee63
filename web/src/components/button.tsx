import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { toApiError } from "../api/resource.ts";
import { Icon, type IconName } from "./icons.tsx";
import { showToast } from "./toasts.tsx";

interface ButtonProps {
  children?: ComponentChildren;
  icon?: IconName;
  /** The name for screen readers and the tooltip of a button that only has an icon. */
  label?: string;
  kind?: "primary" | "plain" | "danger" | "quiet";
  type?: "button" | "submit";
  disabled?: boolean;
  busy?: boolean;
  pressed?: boolean;
  title?: string;
  onClick?: () => void;
}

export function Button({
  children,
  icon,
  label,
  kind = "plain",
  type = "button",
  busy = false,
  disabled = false,
  pressed,
  title,
  onClick,
}: ButtonProps) {
  return (
    <button
      type={type}
      class={`button ${kind}${children ? "" : " icon-only"}`}
      aria-label={label}
      aria-busy={busy}
      aria-pressed={pressed}
      title={title ?? label}
      disabled={disabled || busy}
      onClick={onClick}
    >
      {icon && <Icon name={icon} />}
      {children}
    </button>
  );
}

interface ActionProps extends Omit<ButtonProps, "onClick" | "busy"> {
  /** Called on a click. An error, or the returned text, is shown as a message. */
  action: () => Promise<string | undefined>;
}

/** A button that is disabled while its action runs, and that shows the result. */
export function ActionButton({ action, ...props }: ActionProps) {
  const [busy, setBusy] = useState(false);
  const run = async () => {
    setBusy(true);
    await runAction(action);
    setBusy(false);
  };
  return <Button {...props} busy={busy} onClick={run} />;
}

/** Run an action and show its message or its error. */
export async function runAction(action: () => Promise<string | undefined>): Promise<void> {
  try {
    const message = await action();
    if (message) showToast(message);
  } catch (error) {
    showToast(toApiError(error).message, "failure");
  }
}

/** A link that looks like a button. */
export function LinkButton({
  href,
  icon,
  kind = "plain",
  download,
  children,
}: {
  href: string;
  icon?: IconName;
  kind?: string;
  download?: boolean;
  children: ComponentChildren;
}) {
  return (
    <a class={`button ${kind}`} href={href} download={download}>
      {icon && <Icon name={icon} />}
      {children}
    </a>
  );
}
