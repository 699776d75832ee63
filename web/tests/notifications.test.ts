import { expect, test } from "vitest";
import type { Receiver } from "../src/api/notifications.ts";
import { fieldsOf, inputOf } from "../src/screens/notifications/receiver_form.ts";

const receiver: Receiver = {
  id: 3,
  project_id: 5,
  kind: "webhook",
  server: "https://hooks.example.org",
  events: ["started"],
  active: false,
  created_at: "2026-03-01T10:15:30Z",
  last_delivery: null,
};

test("a new receiver sends its kind, and no secret for chat messages", () => {
  const input = { ...inputOf(null), url: " https://a.test/x ", secret: "hush" };
  expect(fieldsOf(input, true)).toEqual({
    kind: "webhook",
    url: "https://a.test/x",
    secret: "hush",
    events: ["failed", "fixed"],
    active: true,
  });
  expect(fieldsOf({ ...input, kind: "slack" }, true)).not.toHaveProperty("secret");
});

test("an empty URL and secret of an existing receiver are unchanged", () => {
  expect(fieldsOf(inputOf(receiver), false)).toEqual({ events: ["started"], active: false });
});
