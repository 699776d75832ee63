import { expect, test } from "vitest";
import { withoutSaved } from "../src/components/unsaved_changes.ts";

interface Fields {
  name: string;
  branches: string[];
}

test("saved changes are forgotten", () => {
  expect(withoutSaved<Fields>({ name: "shop", branches: ["main"] }, { name: "shop", branches: ["main"] })).toEqual({});
});

test("changes that were made during the save are kept, also of fields that were not saved", () => {
  const changes: Partial<Fields> = { name: "store", branches: ["main", "next"] };
  expect(withoutSaved<Fields>(changes, { branches: ["main"] })).toEqual(changes);
});
