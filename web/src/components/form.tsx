/** Form fields with a label, a hint and an error, and a form that shows the API's error. */
import type { ComponentChildren, InputHTMLAttributes, TargetedSubmitEvent } from "preact";
import { useId, useState } from "preact/hooks";
import type { ApiError } from "../api/client.ts";
import { toApiError } from "../api/resource.ts";
import { Button } from "./button.tsx";

interface FieldProps {
  label: string;
  hint?: ComponentChildren;
  error?: string | undefined;
}

interface InputProps extends FieldProps {
  /** Absent: the field is uncontrolled, and the form reads it when it is submitted. */
  value?: string;
  onInput?: (value: string) => void;
  type?: "text" | "password" | "number" | "email" | "search" | "datetime-local";
  name?: string;
  autocomplete?: string;
  autocapitalize?: "none";
  spellcheck?: boolean;
  autofocus?: boolean;
  required?: boolean;
  placeholder?: string;
  min?: number;
  max?: number;
}

export function TextField({ label, hint, error, value, onInput, ...input }: InputProps) {
  const id = useId();
  return (
    <Field id={id} label={label} hint={hint} error={error}>
      <input
        {...(input as InputHTMLAttributes<HTMLInputElement>)}
        {...describedBy(id, hint, error)}
        id={id}
        value={value}
        onInput={({ currentTarget }) => onInput?.(currentTarget.value)}
      />
    </Field>
  );
}

type AreaProps = FieldProps & { value: string; onInput: (value: string) => void; rows?: number; placeholder?: string };

export function TextArea({ label, hint, error, value, onInput, rows = 4, ...rest }: AreaProps) {
  const id = useId();
  return (
    <Field id={id} label={label} hint={hint} error={error}>
      <textarea
        {...rest}
        {...describedBy(id, hint, error)}
        id={id}
        rows={rows}
        value={value}
        onInput={({ currentTarget }) => onInput(currentTarget.value)}
      />
    </Field>
  );
}

type SelectProps = FieldProps & {
  value: string;
  options: [value: string, text: string][];
  onChange: (value: string) => void;
};

export function SelectField({ label, hint, error, value, options, onChange }: SelectProps) {
  const id = useId();
  return (
    <Field id={id} label={label} hint={hint} error={error}>
      <select
        {...describedBy(id, hint, error)}
        id={id}
        value={value}
        onChange={({ currentTarget }) => onChange(currentTarget.value)}
      >
        {options.map(([option, text]) => (
          <option key={option} value={option}>
            {text}
          </option>
        ))}
      </select>
    </Field>
  );
}

export function CheckBox({
  label,
  hint,
  checked,
  disabled = false,
  onChange,
}: {
  label: ComponentChildren;
  hint?: ComponentChildren;
  checked: boolean;
  disabled?: boolean;
  onChange: (checked: boolean) => void;
}) {
  return (
    <label class="check-box">
      <input
        type="checkbox"
        checked={checked}
        disabled={disabled}
        onChange={({ currentTarget }) => onChange(currentTarget.checked)}
      />
      <span>
        {label}
        {hint && <span class="hint">{hint}</span>}
      </span>
    </label>
  );
}

function describedBy(id: string, hint: unknown, error: unknown) {
  const ids = [hint && `${id}-hint`, error && `${id}-error`].filter(Boolean).join(" ");
  return { ...(error ? { "aria-invalid": true } : {}), ...(ids ? { "aria-describedby": ids } : {}) };
}

function Field({ id, label, hint, error, children }: FieldProps & { id: string; children: ComponentChildren }) {
  return (
    <div class="field">
      <label for={id}>{label}</label>
      {children}
      {hint && (
        <p class="hint" id={`${id}-hint`}>
          {hint}
        </p>
      )}
      {error && (
        <p class="field-error" id={`${id}-error`}>
          {error}
        </p>
      )}
    </div>
  );
}

interface FormProps {
  submit: string;
  /** Sends the form. The message of a thrown error is shown above the buttons. */
  onSubmit: (fields: FormData) => Promise<void>;
  disabled?: boolean;
  kind?: "primary" | "danger";
  children: ComponentChildren;
  buttons?: ComponentChildren;
}

export function Form({ submit, onSubmit, disabled = false, kind = "primary", children, buttons }: FormProps) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<ApiError | null>(null);
  const send = async (event: TargetedSubmitEvent<HTMLFormElement>) => {
    event.preventDefault();
    const fields = new FormData(event.currentTarget);
    setBusy(true);
    setError(null);
    try {
      await onSubmit(fields);
    } catch (failure) {
      setError(toApiError(failure));
    }
    setBusy(false);
  };
  return (
    <form class="form" onSubmit={send}>
      {children}
      {error && (
        <p class="notice tone-failure" role="alert">
          {error.message}
        </p>
      )}
      <div class="form-buttons">
        <Button type="submit" kind={kind} busy={busy} disabled={disabled}>
          {submit}
        </Button>
        {buttons}
      </div>
    </form>
  );
}
