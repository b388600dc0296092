// For administrators: what waits, who works, who may ask, and what failed.
import { EVERY_SECONDS, useAdmin } from "../admin_facts.js";
import { caller } from "../api.js";
import { count, seconds } from "../format.js";
import { html } from "../html.js";
import { Failures } from "../parts/admin_failures.js";
import { Keys } from "../parts/admin_keys.js";
import { Circuits, QUEUES, Workers } from "../parts/admin_workers.js";
import { Share } from "../parts/data_table.js";
import { useStore } from "../store.js";

export function Admin() {
  const { role } = useStore(caller);
  if (role !== "admin") {
    return html`<section class="card empty">
      <h1 tabindex="-1">For administrators</h1>
      <p>Your key has the role ${role}; this view needs the role admin.</p>
      <p>Whoever runs the service makes such a key with <code>cinelet keys create NAME --role admin</code>.</p>
    </section>`;
  }
  return html`<${Facts} />`;
}

function Facts() {
  const { queue, workers, keys, failures, readAt, error, read } = useAdmin();
  const section = (id, name, facts, shown) => html`<section class="card" aria-labelledby=${id}>
    <h2 id=${id}>${name}</h2>
    ${facts ? shown() : html`<p class="muted">${error ? error.message : "Asking…"}</p>`}
  </section>`;
  return html`<div class="admin">
    <div class="admin-head">
      <h1 tabindex="-1">Admin</h1>
      <p class="muted">
        ${readAt ? html`Read at <time>${new Date(readAt).toLocaleTimeString()}</time>, and every ${EVERY_SECONDS} s.` : "Asking…"}
      </p>
      <button type="button" onClick=${() => read()}>Read now</button>
    </div>
    <div role="status">${error && html`<p class="stale">${staleWords(error, readAt)}</p>`}</div>
    ${section("queue", "Queue", queue, () => html`<${Queue} queue=${queue} />`)}
    ${section("workers", "Workers and devices", workers, () => html`<${Workers} workers=${workers} onChanged=${read} />`)}
    ${section("failures", "Failures of the last day", failures, () => html`<${Failures} failures=${failures} />`)}
    ${section("circuits", "Circuits", workers, () => html`<${Circuits} workers=${workers} />`)}
    ${section("keys", "Keys and their use", keys, () => html`<${Keys} keys=${keys} />`)}
  </div>`;
}

function staleWords(error, readAt) {
  if (!readAt) return error.message;
  return `${error.message} What is shown was so at ${new Date(readAt).toLocaleTimeString()}.`;
}

function Queue({ queue }) {
  const { queued, in_progress: running, oldest_wait_seconds: oldest, max_waiting: most } = queue;
  const sum = (counts) => Object.values(counts).reduce((one, other) => one + other, 0);
  const waiting = sum(queued);
  const byKind = (counts) =>
    Object.entries(counts)
      .filter(([, number]) => number)
      .map(([kind, number]) => `${number.toLocaleString()} ${QUEUES[kind] ?? kind}`)
      .join(", ");
  return html`<dl class="figures">
    <div><dt>Waiting</dt><dd data-figure="waiting">${waiting.toLocaleString()}</dd><dd class="hint">${byKind(queued)}</dd></div>
    <div><dt>Running</dt><dd data-figure="running">${sum(running).toLocaleString()}</dd><dd class="hint">${byKind(running)}</dd></div>
    <div>
      <dt>Oldest wait</dt>
      <dd>${oldest === null ? "none" : seconds(oldest)}</dd>
      <dd class="hint">${oldest === null ? "Nothing waits." : ""}</dd>
    </div>
    <div>
      <dt>How full</dt>
      <dd>${Math.floor((waiting / most) * 100)} %</dd>
      <dd class="hint"><${Share} label="How full the queue is" taken=${waiting} whole=${most} words="${waiting.toLocaleString()} of ${count(most, "place")}" /></dd>
    </div>
  </dl>`;
}
