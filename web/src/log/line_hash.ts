/** URL fragments that select lines: `#job-4-L12` or `#job-4-L12-L20`. */
export interface LineRange {
  first: number;
  last: number;
}

export function readLineHash(jobId: number, hash = window.location.hash): LineRange | null {
  const match = /^#job-(\d+)-L(\d+)(?:-L(\d+))?$/.exec(hash);
  if (!match || Number(match[1]) !== jobId) return null;
  const first = Number(match[2]);
  const last = Number(match[3] ?? first);
  return { first: Math.min(first, last), last: Math.max(first, last) };
}

export function lineHash(jobId: number, { first, last }: LineRange): string {
  return `#job-${jobId}-L${first}${last > first ? `-L${last}` : ""}`;
}

/** The job in a fragment that selects lines; null for other fragments. */
export function jobOfHash(hash = window.location.hash): number | null {
  const match = /^#job-(\d+)-L\d+/.exec(hash);
  return match ? Number(match[1]) : null;
}
