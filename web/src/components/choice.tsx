/** A multiple choice: a list of check boxes, with a filter if the list is long. */
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { CheckBox } from "./form.tsx";

const FILTERED_LENGTH = 8;

interface ChoiceProps<T> {
  legend: string;
  hint?: ComponentChildren;
  options: { value: T; name: string; hint?: string }[];
  chosen: T[];
  onChange: (chosen: T[]) => void;
  none?: string;
}

export function Choice<T extends string | number>({ legend, hint, options, chosen, onChange, none }: ChoiceProps<T>) {
  const [filter, setFilter] = useState("");
  const shown = options.filter(({ name }) => name.toLowerCase().includes(filter.toLowerCase()));
  const toggle = (value: T, isChosen: boolean) =>
    onChange(isChosen ? [...chosen, value] : chosen.filter((other) => other !== value));
  return (
    <fieldset class="field choice">
      <legend>{legend}</legend>
      {options.length > FILTERED_LENGTH && (
        <input
          type="search"
          aria-label={`Filter ${legend.toLowerCase()}`}
          placeholder="Filter"
          value={filter}
          onInput={({ currentTarget }) => setFilter(currentTarget.value)}
        />
      )}
      <div class="choice-options">
        {shown.map(({ value, name, hint: about }) => (
          <CheckBox
            key={value}
            label={name}
            hint={about}
            checked={chosen.includes(value)}
            onChange={(isChosen) => toggle(value, isChosen)}
          />
        ))}
        {options.length === 0 && none && <p class="muted">{none}</p>}
      </div>
      {hint && <p class="hint">{hint}</p>}
    </fieldset>
  );
}
