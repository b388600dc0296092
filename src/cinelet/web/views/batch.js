// Many videos at once: the form and the earlier ones, or one batch as it goes on.
import { caller } from "../api.js";
import { html } from "../html.js";
import { BatchForm } from "../parts/batch_form.js";
import { BatchList } from "../parts/batch_list.js";
import { BatchPanel } from "../parts/batch_panel.js";
import { useStore } from "../store.js";

export function Batch({ id }) {
  const { role } = useStore(caller);
  if (id) return html`<${BatchPanel} id=${id} />`;
  return html`<div class="batch-start">
    ${role === "read"
      ? html`<section class="card"><h1 tabindex="-1">Batches</h1><p>Your key may look at batches, and not make any.</p></section>`
      : html`<${BatchForm} />`}
    <${BatchList} mayMake=${role !== "read"} />
  </div>`;
}
