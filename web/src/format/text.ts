/** Readable forms of numbers, sizes, and names from the API. */
export function plural(count: number, noun: string, nouns = `${noun}s`): string {
  return `${count.toLocaleString("en")} ${count === 1 ? noun : nouns}`;
}

export function formatBytes(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`;
  const units = ["kB", "MB", "GB", "TB"];
  let value = bytes / 1024;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

/** `main` for `refs/heads/main`, `tag v1` for `refs/tags/v1`, `pull request 7` for `refs/pull/7/head`. */
export function formatRef(ref: string | null | undefined): string {
  if (!ref) return "";
  const request = /^refs\/(pull|merge-requests)\/(\d+)\/head$/.exec(ref);
  if (request) return `${request[1] === "pull" ? "pull" : "merge"} request ${request[2]}`;
  return ref.replace(/^refs\/heads\//, "").replace(/^refs\/tags\//, "tag ");
}

export function shortSha(sha: string | null | undefined): string {
  return sha?.slice(0, 8) ?? "";
}

/** A sentence from a code like `RUNNER_SYSTEM_FAILURE`. */
export function sentence(code: string): string {
  const words = code.replaceAll("_", " ").toLowerCase();
  return words.charAt(0).toUpperCase() + words.slice(1);
}
