import { html } from "../html.js";

export function Admin() {
  return html`<h1 tabindex="-1">Admin</h1>`;
}
