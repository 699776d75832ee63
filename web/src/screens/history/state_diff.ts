/** Differences between two states of an object. */
export type Row = Record<string, unknown>;

export interface Difference {
  field: string;
  before: unknown;
  after: unknown;
}

/** Return the fields of a state. A field of a nested object is named `object.field`. */
export function flatten(state: Row, prefix = ""): Row {
  return Object.fromEntries(
    Object.entries(state).flatMap(([name, value]) =>
      isObject(value) ? Object.entries(flatten(value, `${prefix}${name}.`)) : [[prefix + name, value]],
    ),
  );
}

function isObject(value: unknown): value is Row {
  return typeof value === "object" && value !== null && !Array.isArray(value) && Object.keys(value).length > 0;
}

/** Return the fields that differ, in the order of the later state. A missing state has no fields. */
export function diffStates(before: Row | null, after: Row | null): Difference[] {
  const fields = [...new Set([...Object.keys(after ?? {}), ...Object.keys(before ?? {})])];
  return fields
    .map((field) => ({ field, before: before?.[field], after: after?.[field] }))
    .filter((difference) => !isSame(difference.before, difference.after));
}

export function isSame(one: unknown, other: unknown): boolean {
  if (Object.is(one, other)) return true;
  if (typeof one !== "object" || typeof other !== "object" || !one || !other) return false;
  if (Array.isArray(one) !== Array.isArray(other)) return false;
  const names = Object.keys(one);
  if (names.length !== Object.keys(other).length) return false;
  return names.every((name) => name in other && isSame((one as Row)[name], (other as Row)[name]));
}

/** A value of a state as text. */
export function formatValue(value: unknown): string {
  if (value === undefined) return "not there";
  if (value === null) return "none";
  if (value === "") return "empty";
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (isBlank(value)) return "none";
  if (Array.isArray(value) && value.every((item) => typeof item !== "object")) return value.join(", ");
  if (typeof value === "object") return JSON.stringify(value, null, 1);
  return String(value);
}

/** Whether a value is blank, like null or an empty list. */
export function isBlank(value: unknown): boolean {
  if (value === null || value === undefined || value === "") return true;
  return typeof value === "object" && Object.keys(value).length === 0;
}
