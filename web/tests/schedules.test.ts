import { expect, test } from "vitest";
import type { Schedule } from "../src/api/schedules.ts";
import { formatIn } from "../src/format/time.ts";
import { fieldsOf, inputOf, knownZones } from "../src/screens/schedules/schedule_form.ts";

const schedule: Schedule = {
  id: 3,
  project_id: 5,
  cron: "30 2 * * *",
  zone: "Asia/Tokyo",
  branch: null,
  variables: [{ name: "SUITE", value: "all" }],
  description: "Nightly",
  active: false,
  owner_id: 7,
  owner_name: "olga",
  created_at: "2026-03-01T10:15:30Z",
  next_run_at: null,
  last_run_at: null,
  last_build_id: null,
  last_error: null,
  last_error_detail: null,
};

test("a new schedule is active, in the time zone of the user", () => {
  expect(fieldsOf({ ...inputOf(null, "Europe/Berlin"), cron: " @daily " })).toEqual({
    cron: "@daily",
    zone: "Europe/Berlin",
    branch: null,
    variables: [],
    description: "",
    active: true,
  });
});

test("the form of a schedule sends the same values", () => {
  const { cron, zone, branch, variables, description, active } = schedule;
  expect(fieldsOf(inputOf(schedule, "UTC"))).toEqual({ cron, zone, branch, variables, description, active });
});

test("UTC is the first of the suggested time zones, and only once", () => {
  expect(knownZones().filter((zone) => zone === "UTC")).toEqual(["UTC"]);
  expect(knownZones()[0]).toBe("UTC");
});

test("a run is shown in the time zone of the schedule", () => {
  expect(formatIn("2026-03-01T17:30:00Z", "Asia/Tokyo")).toContain("2:30");
});
