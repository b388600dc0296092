// Who works: the workers with their devices and what they have loaded, and the circuits before hosts.
import { bytes, seconds } from "../format.js";
import { html } from "../html.js";
import { LoadForm, Loaded } from "./admin_models.js";
import { DataTable, Share } from "./data_table.js";
import { When } from "./when.js";

export const QUEUES = { local: "local models", remote: "providers" };

// onChanged: called when other models may be loaded.
export function Workers({ workers, onChanged }) {
  const some = workers.some(({ queues }) => "local" in queues);
  return html`<${DataTable}
    label="Workers"
    rows=${workers}
    rowKey=${({ name }) => name}
    empty=${html`<p><strong>No worker was heard of within 30 seconds, so nothing is made.</strong></p>
      <p>The service starts its own; further ones, also on other machines, begin with <code>cinelet worker</code>.</p>`}
    columns=${[
      {
        name: "Worker",
        cell: ({ host, pid, name }) => html`<span title=${name}>${host}, process ${pid}</span>`,
      },
      {
        name: "Works",
        cell: ({ queues }) =>
          Object.entries(queues).map(([queue, most]) => html`<div>${QUEUES[queue] ?? queue}, ${most.toLocaleString()} at once</div>`),
      },
      { name: "Running", number: true, cell: ({ running }) => running.toLocaleString() },
      { name: "Ended", number: true, cell: ({ finished }) => finished.toLocaleString() },
      { name: "Device", cell: ({ device }) => device.name ?? html`<span class="muted">not used yet</span>` },
      { name: "Memory", cell: (worker) => html`<${Memory} worker=${worker} />` },
      { name: "Loaded", cell: ({ models }) => html`<${Loaded} models=${models} onChanged=${onChanged} />` },
      {
        name: "Heard of",
        cell: ({ seen_at: at, started_at: started }) =>
          html`<${When} at=${at} />
            <div class="hint">since <${When} at=${started} /></div>`,
      },
    ]}
  />
    ${some && html`<${LoadForm} onChanged=${onChanged} />`}`;
}

function Memory({ worker }) {
  const { device, resident_bytes: process, host, pid } = worker;
  const { total_bytes: total, free_bytes: free, allocated_bytes: allocated, reserved_bytes: reserved } = device;
  const known = total !== null && free !== null;
  return html`${known &&
    html`<${Share}
      label="Memory of ${device.name} of ${host}, process ${pid}"
      taken=${total - free}
      whole=${total}
      words="${bytes(total - free)} of ${bytes(total)} taken"
    />`}
    ${reserved !== null && html`<div class="hint">${bytes(reserved)} by this worker${allocated === null ? "" : `, ${bytes(allocated)} in use`}</div>`}
    <div class=${known ? "hint" : ""}>process ${bytes(process)}</div>`;
}

const STATES = { closed: "asked", open: "left alone", probing: "trying again" };

export function Circuits({ workers }) {
  const rows = workers.flatMap((worker) => worker.circuits.map((circuit) => ({ ...circuit, worker })));
  return html`<${DataTable}
    label="Circuits"
    rows=${rows}
    rowKey=${({ name, worker }) => `${worker.name} ${name}`}
    empty=${html`<p>No host was asked yet. What fails several times in a row is left alone for a while, and shown here.</p>`}
    columns=${[
      { name: "Host or model", cell: ({ name }) => name },
      { name: "State", cell: ({ state }) => html`<span class="badge ${state}">${state}</span> ${STATES[state] ?? ""}` },
      { name: "Failures in a row", number: true, cell: ({ failures }) => failures.toLocaleString() },
      { name: "Asked again in", number: true, cell: ({ state, open_seconds: open }) => (state === "open" ? seconds(open) : "now") },
      { name: "Worker", cell: ({ worker }) => `${worker.host}, process ${worker.pid}` },
    ]}
  />`;
}
