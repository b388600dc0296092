// Which models would be tried next where the service chooses, and why.
import { get } from "../api.js";
import { money, seconds } from "../format.js";
import { html, useEffect, useState } from "../html.js";
import { DataTable } from "./data_table.js";

const TASKS = { "text-to-video": "From a text", "image-to-video": "From an image" };

// again: another value each time it is to be asked anew. It is asked apart from the rest: it may take some seconds.
export function NextModels({ currency, again }) {
  const [told, setTold] = useState({ next: null, error: null });
  useEffect(() => {
    const stopping = new AbortController();
    get("/v1/stats/next", { signal: stopping.signal }).then(
      ({ data }) => setTold({ next: data, error: null }),
      (error) => error.name !== "AbortError" && setTold({ next: null, error }),
    );
    return () => stopping.abort();
  }, [again]);
  if (told.error) return html`<p class="error">${told.error.message}</p>`;
  if (!told.next) return html`<p class="muted">Asking…</p>`;
  return told.next.map((one) => html`<${Order} key=${one.task} next=${one} currency=${currency} />`);
}

function Order({ next: { task, order, left_out: leftOut, why_not: whyNot }, currency }) {
  const label = TASKS[task];
  return html`<h3>${label}</h3>
    <${DataTable}
      label="Runs next: ${label}"
      rows=${order}
      rowKey=${({ model }) => model}
      empty=${html`<p>${whyNot}</p>`}
      columns=${[
        { name: "Model", cell: ({ model }) => model },
        { name: "Why", cell: ({ why, explored }) => html`${why} ${explored && html`<span class="badge probing">to know it better</span>`}` },
        { name: "Success", number: true, cell: ({ success }) => (success === null ? "unknown" : `${Math.round(success * 100)} %`) },
        { name: "Time", number: true, cell: ({ seconds: time }) => (time === null ? "unknown" : seconds(time)) },
        { name: "Cost", number: true, cell: ({ cost }) => (cost === null ? "unknown" : money(cost, currency)) },
      ]}
    />
    ${leftOut.map(({ model, reason }) => html`<p key=${model} class="hint">Left out: ${model}, because ${reason}</p>`)}`;
}
