import { expect, test } from "vitest";
import { describeResult, LINKED } from "../src/screens/sign_in/sign_in_results.ts";

test("a result of a sign-in is a sentence", () => {
  expect(describeResult("OIDC_DENIED")).toBe("The sign-in was refused or canceled at the provider.");
  expect(describeResult(LINKED)).toContain("Linked");
});

test("a link cannot put text into the sign-in page", () => {
  for (const code of ["Call 555-0100 to unlock", "constructor", "__proto__", ""])
    expect(describeResult(code)).toBe("The sign-in failed. Try again.");
});
