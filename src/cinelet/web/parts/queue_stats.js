// What waits and runs now, by the model that was asked for.
import { html } from "../html.js";
import { DataTable, Share } from "./data_table.js";

export function QueueStats({ queue }) {
  const whole = queue.reduce((sum, { queued, in_progress: running }) => sum + queued + running, 0);
  return html`<${DataTable}
    label="Waits and runs now"
    rows=${queue}
    rowKey=${({ model }) => model}
    empty=${html`<p>Nothing waits, and nothing runs.</p>`}
    columns=${[
      { name: "Model", cell: ({ model }) => model },
      { name: "Waiting", number: true, cell: ({ queued }) => queued.toLocaleString() },
      { name: "Running", number: true, cell: ({ in_progress: running }) => running.toLocaleString() },
      {
        name: "Share",
        cell: ({ model, queued, in_progress: running, share }) =>
          html`<${Share} label="Share of ${model}" taken=${queued + running} whole=${whole} words="${Math.round(share * 100)} %" plain />`,
      },
    ]}
  />`;
}
