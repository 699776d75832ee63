import { expect, test } from "vitest";
import { ApiError } from "../src/api/client.ts";
import { errorOfRow, givenVariables } from "../src/screens/launch/launch_variables.ts";

const rows = [
  { key: 1, name: " TARGET ", value: " a b " },
  { key: 2, name: "", value: "" },
  { key: 3, name: "TARGET", value: "" },
  { key: 4, name: "PATH", value: "x" },
];

const invalid = (detail: string, code = "BUILD_VARIABLES_INVALID") => new ApiError(422, code, detail);

test("names are trimmed, values are kept, and empty rows are left out", () => {
  expect(givenVariables(rows)).toEqual([
    { name: "TARGET", value: " a b " },
    { name: "TARGET", value: "" },
    { name: "PATH", value: "x" },
  ]);
});

test("an error is shown at the last row with its name", () => {
  expect(errorOfRow(rows, invalid("`TARGET` is set twice."))?.key).toBe(3);
  expect(errorOfRow(rows, invalid("`PATH` is a reserved name.", "BUILD_VARIABLES_RESERVED"))).toEqual({
    key: 4,
    message: "`PATH` is a reserved name.",
  });
  const long = { key: 5, name: "x".repeat(300), value: "" };
  expect(errorOfRow([...rows, long], invalid(`\`${"x".repeat(80)}...\` cannot be`))?.key).toBe(5);
  const unnamed = { key: 6, name: "", value: "x" };
  expect(errorOfRow([...rows, unnamed], invalid("`` cannot be the name of a variable"))?.key).toBe(6);
});

test("other errors belong to the form", () => {
  expect(errorOfRow(rows, invalid("A launch can have at most 50 variables."))).toBeNull();
  expect(errorOfRow(rows, invalid("`TARGET`", "BUILD_VARIABLES_NOT_ALLOWED"))).toBeNull();
});
