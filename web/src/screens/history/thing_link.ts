/** The screens that show an object. */
import { url } from "../../router/location.ts";

/** The screen with the current state of an object, if there is one. */
export function thingLink(kind: string, id: string): string | null {
  if (kind === "project" || kind === "build") return url(`/${kind}s/${id}`);
  if (kind === "user") return url(`/people/${id}`);
  return null;
}
