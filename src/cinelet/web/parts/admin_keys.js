// Who may ask, and how much of that was used.
import { count, money, seconds } from "../format.js";
import { html } from "../html.js";
import { DataTable, Share } from "./data_table.js";
import { When } from "./when.js";

export function Keys({ keys }) {
  return html`<${DataTable}
    label="Keys"
    rows=${keys}
    rowKey=${({ id }) => id}
    empty=${html`<p>There is no key, so whoever is on this machine may do everything, and nobody else anything.</p>
      <p>Make one with <code>cinelet keys create NAME</code>; from then on a key is required.</p>`}
    columns=${[
      {
        name: "Key",
        cell: ({ id, name, revoked_at: revoked }) => html`${name} ${revoked !== null && html`<span class="badge failed">revoked</span>`}
          <div class="hint"><code>${id}</code></div>`,
      },
      { name: "Owner", cell: ({ owner }) => owner },
      { name: "Role", cell: ({ role }) => html`<span class="badge">${role}</span>` },
      { name: "Limits", cell: ({ limits }) => limitsInWords(limits) },
      {
        name: "Used",
        cell: ({ last_used_at: at }) =>
          at === null ? html`<span class="muted">never</span>` : html`<${When} at=${at} />`,
      },
      { name: "Videos in 24 h", number: true, cell: ({ use }) => use.generations.toLocaleString() },
      {
        name: "Video in 24 h",
        cell: ({ name, use, limits }) =>
          html`<${Used} label="Video of ${name} in 24 hours" used=${use.video_seconds} most=${limits.video_seconds_per_day} words=${seconds} />`,
      },
      {
        name: "Cost in 24 h",
        cell: ({ name, use, limits }) =>
          html`<${Used}
            label="Cost of ${name} in 24 hours"
            used=${use.cost}
            most=${limits.currency === use.currency ? limits.budget_per_day : null}
            words=${(amount) => money(amount, use.currency)}
          />`,
      },
    ]}
  />`;
}

// What was used of a limit, or without one how much it was.
function Used({ label, used, most, words }) {
  const amount = used ? words(used) : "none";
  if (most === null) return amount;
  return html`<${Share} label=${label} taken=${used} whole=${most} words="${amount} of ${words(most)}" />`;
}

function limitsInWords({ requests_per_minute: requests, running, video_seconds_per_day: video, budget_per_day: budget, currency }) {
  const words = [
    requests !== null && `${count(requests, "request")} a minute`,
    running !== null && `${running.toLocaleString()} at once`,
    video !== null && `${seconds(video)} of video a day`,
    budget !== null && `${money(budget, currency)} a day`,
  ].filter(Boolean);
  return words.length ? words.map((one) => html`<div>${one}</div>`) : html`<span class="muted">none</span>`;
}
