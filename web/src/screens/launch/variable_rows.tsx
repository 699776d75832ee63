import { useEffect, useId, useRef } from "preact/hooks";
import { Button } from "../../components/button.tsx";
import { MAX_VARIABLES, type RowError, type VariableRow } from "./launch_variables.ts";

interface Props {
  rows: VariableRow[];
  error: RowError | null;
  onChange: (rows: VariableRow[]) => void;
}

/** Fields for the variables of a launch: a row for each name and value. */
export function VariableRows({ rows, error, onChange }: Props) {
  const add = () => onChange([...rows, { key: (rows.at(-1)?.key ?? 0) + 1, name: "", value: "" }]);
  return (
    <fieldset class="field">
      <legend>Variables</legend>
      {rows.map((row, index) => (
        <VariableFields
          key={row.key}
          row={row}
          number={index + 1}
          error={error?.key === row.key ? error.message : ""}
          onInput={(changed) => onChange(rows.map((other) => (other.key === row.key ? changed : other)))}
          onRemove={() => onChange(rows.filter(({ key }) => key !== row.key))}
        />
      ))}
      {rows.length > 0 && <p class="hint">Not for secrets: values are shown to everybody who sees the build.</p>}
      <div>
        <Button icon="plus" disabled={rows.length >= MAX_VARIABLES} onClick={add}>
          Add variable
        </Button>
      </div>
    </fieldset>
  );
}

interface RowProps {
  row: VariableRow;
  number: number;
  error: string;
  onInput: (row: VariableRow) => void;
  onRemove: () => void;
}

function VariableFields({ row, number, error, onInput, onRemove }: RowProps) {
  const id = useId();
  const name = useRef<HTMLInputElement>(null);
  useEffect(() => name.current?.focus(), []);
  const described = error ? { "aria-invalid": true, "aria-describedby": `${id}-error` } : {};
  return (
    <div class="variable-row">
      <input
        {...described}
        ref={name}
        aria-label={`Name of variable ${number}`}
        placeholder="NAME"
        autocapitalize="none"
        autocomplete="off"
        spellcheck={false}
        value={row.name}
        onInput={({ currentTarget }) => onInput({ ...row, name: currentTarget.value })}
      />
      <input
        {...described}
        aria-label={`Value of variable ${number}`}
        placeholder="value"
        autocapitalize="none"
        autocomplete="off"
        spellcheck={false}
        value={row.value}
        onInput={({ currentTarget }) => onInput({ ...row, value: currentTarget.value })}
      />
      <Button kind="quiet" icon="cancel" label={`Remove variable ${number}`} onClick={onRemove} />
      {error && (
        <p class="field-error" id={`${id}-error`} role="alert">
          {error}
        </p>
      )}
    </div>
  );
}
