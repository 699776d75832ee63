/** Variables of a launch: the rows of the form, what is sent, and the row that an error of the API is about. */
import type { BuildVariable } from "../../api/builds.ts";
import type { ApiError } from "../../api/client.ts";

export interface VariableRow extends BuildVariable {
  /** Identifies the row while others are removed. */
  key: number;
}

export interface RowError {
  key: number;
  message: string;
}

export const MAX_VARIABLES = 50;
const MAX_QUOTED_LENGTH = 80; // the API quotes longer names in part

/** The variables to send. Rows without a name and a value are left out. */
export function givenVariables(rows: VariableRow[]): BuildVariable[] {
  return rows
    .map(({ name, value }) => ({ name: name.trim(), value }))
    .filter(({ name, value }) => name !== "" || value !== "");
}

/** The error with the key of its row, or null if it is not about a variable. Of rows with the same name, the last. */
export function errorOfRow(rows: VariableRow[], { code, message }: ApiError): RowError | null {
  if (code !== "BUILD_VARIABLES_INVALID" && code !== "BUILD_VARIABLES_RESERVED") return null;
  const sent = rows.filter(({ name, value }) => name.trim() !== "" || value !== "");
  const row = sent.findLast(({ name }) => message.includes(quoteName(name.trim())));
  return row ? { key: row.key, message } : null;
}

function quoteName(name: string): string {
  return `\`${name.length > MAX_QUOTED_LENGTH ? `${name.slice(0, MAX_QUOTED_LENGTH)}...` : name}\``;
}
