// Who may ask, and how much of that was used.
import { count, seconds } from "../format.js";
import { html } from "../html.js";
import { DataTable } from "./data_table.js";
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
        number: true,
        cell: ({ use, limits }) => {
          const most = limits.video_seconds_per_day;
          const used = use.video_seconds ? seconds(use.video_seconds) : "none";
          return most === null ? used : `${used} of ${seconds(most)}`;
        },
      },
    ]}
  />`;
}

function limitsInWords({ requests_per_minute: requests, running, video_seconds_per_day: video }) {
  const words = [
    requests !== null && `${count(requests, "request")} a minute`,
    running !== null && `${running.toLocaleString()} at once`,
    video !== null && `${seconds(video)} of video a day`,
  ].filter(Boolean);
  return words.length ? words.map((one) => html`<div>${one}</div>`) : html`<span class="muted">none</span>`;
}
