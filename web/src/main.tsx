import { render } from "preact";
import { restoreSession } from "./api/session.ts";
import { App } from "./app.tsx";
import { applyTheme } from "./layout/theme.ts";
import "./styles/index.css";

applyTheme();
void restoreSession();
const root = document.getElementById("app");
if (root) render(<App />, root);
