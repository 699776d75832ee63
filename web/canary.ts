// Every line of this function must be a type error. `make check` fails if the type checker accepts one of them.
import { api } from "./src/api/client.ts";

export async function plantErrors(): Promise<void> {
  await api.GET("/api/no/such/path");
  await api.GET("/api/developer/builds/{build_id}/jobs", { params: { path: { build_id: [] } } });
  (await api.GET("/api/user/info")).data?.noSuchField;
}
