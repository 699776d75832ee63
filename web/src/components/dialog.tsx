/** Modal dialogs on the browser's own `<dialog>`, which traps the focus and closes with Escape. */
import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef, useState } from "preact/hooks";
import { Button, runAction } from "./button.tsx";

interface DialogProps {
  title: string;
  onClose: () => void;
  wide?: boolean;
  children: ComponentChildren;
}

/** An open dialog. Render it only while it is open. */
export function Dialog({ title, onClose, wide = false, children }: DialogProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    const element = dialog.current;
    const opener = document.activeElement;
    element?.showModal();
    return () => {
      element?.close();
      returnFocus(opener);
    };
  }, []);
  return (
    <dialog
      ref={dialog}
      class={wide ? "dialog wide" : "dialog"}
      aria-labelledby={id}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
      onMouseDown={(event) => event.target === dialog.current && onClose()}
    >
      <div class="dialog-content">
        <header class="dialog-header">
          <h2 id={id}>{title}</h2>
          <Button kind="quiet" icon="cancel" label="Close" onClick={onClose} />
        </header>
        {children}
      </div>
    </dialog>
  );
}

/** Focus the element that opened the dialog, or the content of the page if the element is gone. */
function returnFocus(opener: Element | null): void {
  const target = opener?.isConnected && opener !== document.body ? opener : document.getElementById("content");
  (target as HTMLElement | null)?.focus({ preventScroll: true });
}

interface ConfirmProps {
  /** Label of the button that opens the dialog. */
  label: string;
  icon?: "cancel" | "retry" | "play";
  kind?: "plain" | "danger" | "quiet";
  title: string;
  children: ComponentChildren;
  confirm: string;
  action: () => Promise<string | undefined>;
}

/** A button whose action is confirmed in a dialog first. */
export function ConfirmButton({ label, icon, kind = "plain", title, children, confirm, action }: ConfirmProps) {
  const [isOpen, setOpen] = useState(false);
  const [busy, setBusy] = useState(false);
  const run = async () => {
    setBusy(true);
    await runAction(action);
    setBusy(false);
    setOpen(false);
  };
  return (
    <>
      <Button kind={kind} {...(icon ? { icon } : {})} onClick={() => setOpen(true)}>
        {label}
      </Button>
      {isOpen && (
        <Dialog title={title} onClose={() => setOpen(false)}>
          <div class="dialog-body">{children}</div>
          <div class="form-buttons">
            <Button kind={kind === "danger" ? "danger" : "primary"} busy={busy} onClick={run}>
              {confirm}
            </Button>
            <Button onClick={() => setOpen(false)}>Keep</Button>
          </div>
        </Dialog>
      )}
    </>
  );
}
