import { html } from "../html.js";

export function GenerationView({ id }) {
  return html`<h1 tabindex="-1">${id}</h1>`;
}
