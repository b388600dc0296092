// What failed within a day, by its cause.
import { html } from "../html.js";
import { linkTo } from "../router.js";
import { DataTable } from "./data_table.js";
import { When } from "./when.js";

export function Failures({ failures }) {
  return html`<${DataTable}
    label="Failures of the last day"
    rows=${failures}
    rowKey=${({ code, model }) => `${code} ${model}`}
    empty=${html`<p>Nothing failed within 24 hours.</p>`}
    columns=${[
      { name: "Cause", cell: ({ code }) => html`<span class="badge failed">${code}</span>` },
      { name: "Model", cell: ({ model }) => model },
      { name: "Times", number: true, cell: ({ count: times }) => times.toLocaleString() },
      { name: "What the newest one said", cell: ({ message }) => message },
      { name: "Newest", cell: ({ last_at: at }) => html`<${When} at=${at} />` },
      {
        name: "Look at it",
        cell: ({ generation_id: id, code }) => html`<a href=${linkTo("generation", id)}>the newest one<span class="unseen"> of ${code}</span></a>`,
      },
    ]}
  />`;
}
