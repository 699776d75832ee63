import { render } from "preact";
import { restoreSession, session } from "./api/session.ts";
import { App } from "./app.tsx";
import { showToast } from "./components/toasts.tsx";
import { applyTheme } from "./layout/theme.ts";
import { location, setQuery } from "./router/location.ts";
import { describeResult, LINKED } from "./screens/sign_in/sign_in_results.ts";
import "./styles/index.css";

applyTheme();
const result = location.value.query.get("sign_in");
if (result !== null) setQuery({ sign_in: null });
void restoreSession(result).then(() => {
  // without a session, the sign-in page shows the error
  if (result !== null && result !== "ok" && session.value.status === "signed-in")
    showToast(describeResult(result), result === LINKED ? "success" : "failure");
});
const root = document.getElementById("app");
if (root) render(<App />, root);
