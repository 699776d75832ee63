/** Variables as lines of text, `NAME=value`. */
export function formatVariables(variables: Record<string, unknown>): string {
  return Object.entries(variables)
    .map(([name, value]) => `${name}=${value}`)
    .join("\n");
}

/** Parse lines of text. Empty lines are skipped. Throws an Error that quotes the first invalid line. */
export function parseVariables(text: string): Record<string, string> {
  const variables: Record<string, string> = {};
  for (const line of text.split("\n")) {
    if (!line.trim()) continue;
    const separator = line.indexOf("=");
    const name = line.slice(0, separator).trim();
    if (separator < 0 || !name) throw new Error(`Write “${line.trim()}” as NAME=value.`);
    variables[name] = line.slice(separator + 1);
  }
  return variables;
}
