import { html } from "../html.js";

export function Batch() {
  return html`<h1 tabindex="-1">Batch</h1>`;
}
