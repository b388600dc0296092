// A row for each model where it ran, with small charts beside the numbers.
import { count, money, seconds } from "../format.js";
import { html } from "../html.js";
import { DataTable } from "./data_table.js";

export function ModelStats({ models, currency }) {
  const slowest = Math.max(...models.map(({ seconds_per_video_second: { p95 } }) => p95 ?? 0), 1e-9);
  const longest = Math.max(...models.map(({ queue_seconds: { p95 } }) => p95 ?? 0), 1e-9);
  const dearest = Math.max(...models.map(({ cost }) => cost ?? 0), 1e-9);
  return html`<${DataTable}
    label="Models"
    rows=${models}
    rowKey=${({ model, provider }) => `${model} ${provider}`}
    columns=${[
      {
        name: "Model",
        cell: ({ model, provider, errors }) => html`${model}
          <div class="hint">${provider === "local" ? "here" : provider}</div>
          ${errors.map(({ code, count: number }) => html`<div key=${code}><span class="badge failed">${number.toLocaleString()} × ${code}</span></div>`)}`,
      },
      {
        name: "Success",
        cell: ({ success_rate: rate, succeeded, failed }) =>
          rate === null
            ? html`<span class="muted">unknown</span>`
            : html`<${Chart} to=${rate} level=${rate < 0.5 ? "high" : rate < 0.9 ? "much" : ""}>
                ${succeeded.toLocaleString()} of ${(succeeded + failed).toLocaleString()}
              <//>`,
      },
      { name: "A second of video", cell: ({ seconds_per_video_second: spread }) => html`<${Spread} spread=${spread} most=${slowest} />` },
      { name: "Wait", cell: ({ queue_seconds: spread }) => html`<${Spread} spread=${spread} most=${longest} />` },
      {
        name: "Share of the work",
        cell: ({ work_share: share, attempts }) => html`<${Chart} to=${share}>${Math.round(share * 100)} %, ${count(attempts, "attempt")}<//>`,
      },
      {
        name: "Cost",
        cell: ({ cost, unpriced, video_seconds: video }) =>
          cost === null
            ? html`<span class="muted">unknown</span><div class="hint">${seconds(video)} of video</div>`
            : html`<${Chart} to=${cost / dearest}>${money(cost, currency)}${unpriced ? " and more" : ""}<//>
                <div class="hint">${seconds(video)} of video</div>`,
      },
    ]}
  />`;
}

// A bar under its words, which say the same: from and to are parts of the whole.
function Chart({ from = 0, to, level = "", children }) {
  return html`<div class="share">
    <span>${children}</span>
    <span class="bar ${level}" aria-hidden="true">
      <span style=${{ marginLeft: `${from * 100}%`, width: `${Math.max(1, (to - from) * 100)}%` }}></span>
    </span>
  </div>`;
}

// Half of all took at most the first, 95 of 100 at most the second: the bar lies between the two.
function Spread({ spread: { p50, p95 }, most }) {
  if (p50 === null) return html`<span class="muted">unknown</span>`;
  return html`<${Chart} from=${Math.min(p50 / most, 0.98)} to=${p95 / most}>
    ${seconds(p50)}<span class="muted">, p95 ${seconds(p95)}</span>
  <//>`;
}
