import { html } from "../html.js";

export function Gallery() {
  return html`<h1 tabindex="-1">Gallery</h1>`;
}
