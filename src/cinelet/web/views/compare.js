import { html } from "../html.js";

export function Compare() {
  return html`<h1 tabindex="-1">Compare</h1>`;
}
