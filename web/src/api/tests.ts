/** Tests from the JUnit reports of jobs. */
import { api, dataOf, type Schemas } from "./client.ts";

export type ReportedTest = Schemas["ReportedCase"];
export type TestPage = Schemas["CasePage"];
export type TestCounts = Schemas["BuildTestCounts"];
export type TestStatus = Schemas["CaseStatus"];
export type TestStatistics = Schemas["CaseStatistics"];
export type FlakyTest = Schemas["FlakyCase"];
export type SlowTest = Schemas["SlowCase"];

/** A page of the tests of a build that have one of these results. */
export async function listTests(build_id: number, status: TestStatus[], after = ""): Promise<TestPage> {
  const params = { path: { build_id }, query: { status, after } };
  return await dataOf(api.GET("/api/developer/builds/{build_id}/tests", { params }));
}

export async function loadTestStatistics(project_id: number): Promise<TestStatistics> {
  return await dataOf(api.GET("/api/developer/projects/{project_id}/tests", { params: { path: { project_id } } }));
}
