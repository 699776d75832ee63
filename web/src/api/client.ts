/** The typed client of the API. The session is an HttpOnly cookie, so no token is in JavaScript. */
import createClient, { type Middleware } from "openapi-fetch";
import type { components, paths } from "../../generated/schema";

export type Schemas = components["schemas"];

/** An error response of the API, or a request that got no response. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    readonly detail: string,
    readonly traceId: string = "",
    readonly retryAfter: number = 0,
  ) {
    super(detail || code);
  }
}

export const UNREACHABLE = "UNREACHABLE";
const SIGNED_OUT = 401;
const onSignedOut = new Set<() => void>();

/** Call the function when a response says that the session has ended. */
export function whenSignedOut(handler: () => void): void {
  onSignedOut.add(handler);
}

const errors: Middleware = {
  async onResponse({ response, schemaPath }) {
    if (response.ok) return;
    const error = await readError(response);
    if (error.status === SIGNED_OUT && !schemaPath.startsWith("/api/auth/"))
      for (const handler of onSignedOut) handler();
    throw error;
  },
  onError() {
    throw new ApiError(0, UNREACHABLE, "The server cannot be reached. Check your connection.");
  },
};

/** The error of a response that is not ok. */
export async function readError(response: Response): Promise<ApiError> {
  const body = (await response.json().catch(() => ({}))) as Partial<Schemas["ErrorBody"]>;
  const retryAfter = Number(response.headers.get("Retry-After") ?? 0);
  const detail = body.detail || `The server answered with status ${response.status}.`;
  return new ApiError(response.status, body.message ?? "", detail, body.trace_id, retryAfter);
}

export const api = createClient<paths>({ baseUrl: "", credentials: "same-origin" });
api.use(errors);

/** Return the data of a successful response. The client throws for all others. */
export async function dataOf<T>(request: Promise<{ data?: T }>): Promise<T> {
  return (await request).data as T;
}
