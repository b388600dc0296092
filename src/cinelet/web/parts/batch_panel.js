// One batch as it goes on: how far it is, what can be done with it, and its lines.
import { caller } from "../api.js";
import { matrixOf } from "../batch/plan.js";
import { sendAgain } from "../batch/sending.js";
import { WatchedBatch } from "../batch/watched.js";
import { count, moment, seconds } from "../format.js";
import { html, useEffect, useMemo, useRef, useState } from "../html.js";
import { save } from "../media.js";
import { goTo, linkTo } from "../router.js";
import { useStore } from "../store.js";
import { announce, complain } from "../toasts.js";
import { BatchGrid } from "./batch_grid.js";
import { batchName } from "./batch_list.js";
import { BatchMatrix } from "./batch_matrix.js";

const SAID_EVERY_MS = 10_000;

export function BatchPanel({ id }) {
  const watched = useMemo(() => new WatchedBatch(id), [id]);
  useEffect(() => watched.watch(), [watched]);
  const head = useStore(watched.head);
  const error = useStore(watched.error);
  if (error?.status === 404) {
    return html`<section class="card empty">
      <h1 tabindex="-1">This batch is gone</h1>
      <p>It was deleted, or it is somebody else's.</p>
      <p><a href=${linkTo("batch")}>All batches</a></p>
    </section>`;
  }
  if (!head) {
    return html`<section class="card empty" role="status">
      <h1 tabindex="-1">Batch</h1>
      <p>${error ? error.message : "Looking for it…"}</p>
    </section>`;
  }
  const matrix = matrixOf(head);
  return html`<article class="batch" data-state=${head.state} aria-labelledby="batch-name">
    <p class="crumb"><a href=${linkTo("batch")}>← All batches</a></p>
    <${Head} watched=${watched} head=${head} />
    ${matrix ? html`<${BatchMatrix} watched=${watched} matrix=${matrix} />` : html`<${BatchGrid} watched=${watched} />`}
  </article>`;
}

function Head({ watched, head }) {
  const tally = useStore(watched.tally);
  const { role } = useStore(caller);
  const name = batchName(head);
  useTitle(name, tally);
  useAnnouncements(tally);
  const { counts, open, total, progress, rest } = tally;
  const percent = Math.floor(progress * 100);
  const words = open ? `${percent} %` : head.cancel_requested && counts.cancelled ? "Cancelled" : "Done";
  return html`<header class="card batch-head">
    <div class="batch-title">
      <h1 tabindex="-1" id="batch-name">${name}</h1>
      <p class="hint">
        ${head.metadata.name && `${count(total, "video")}, `}asked for ${moment(head.created_at)}
        ${head.metadata.again_of && html`, <a href=${linkTo("batch", head.metadata.again_of)}>after an earlier batch</a>`}
      </p>
    </div>
    <${Actions} watched=${watched} head=${head} tally=${tally} mayMake=${role !== "read"} />
    <div class="batch-far">
      <div class="far-words">
        <strong>${words}</strong>
        ${open > 0 && head.cancel_requested && html` <span class="muted">cancelling the rest</span>`}
        ${rest !== null && !head.cancel_requested && html` <span class="muted">about ${seconds(rest)} more</span>`}
        <${Counts} counts=${counts} />
      </div>
      <progress aria-label="Progress of the batch" max="1" value=${progress}></progress>
    </div>
  </header>`;
}

const COUNTED = [
  ["completed", "done"],
  ["in_progress", "at work"],
  ["queued", "waiting"],
  ["failed", "failed"],
  ["cancelled", "cancelled"],
  ["deleted", "deleted"],
];

function Counts({ counts }) {
  return html`<ul class="counts" aria-label="How many lines are how far">
    ${COUNTED.filter(([state]) => counts[state] || state === "completed").map(
      ([state, word]) => html`<li key=${state} class="badge ${state}" data-count=${state}>${counts[state].toLocaleString()} ${word}</li>`,
    )}
  </ul>`;
}

function Actions({ watched, head, tally, mayMake }) {
  const [busy, setBusy] = useState(false);

  async function doing(work) {
    setBusy(true);
    try {
      await work();
    } catch (error) {
      complain(error);
    } finally {
      setBusy(false);
    }
  }

  const linesThat = (state) =>
    [...watched.lines.values()].map((store) => store.value).filter((line) => line.state === state && line.generation);
  const again = (state) => doing(async () => goTo("batch", (await sendAgain(head, linesThat(state))).id));
  const download = () => doing(async () => save(await watched.results(), `${head.id}.jsonl`));
  const failed = tally.counts.failed ? linesThat("failed").length : 0;
  const cancelled = tally.open ? 0 : tally.counts.cancelled;
  const cancelling = head.cancel_requested && tally.open > 0;
  return html`<div class="buttons">
    ${mayMake &&
    tally.open > 0 &&
    html`<button type="button" class="danger" disabled=${busy || cancelling} onClick=${() => doing(() => watched.cancel())}>
      ${cancelling ? "Cancelling…" : "Cancel the rest"}
    </button>`}
    ${mayMake &&
    failed > 0 &&
    html`<button type="button" disabled=${busy} title="As a batch of their own" onClick=${() => again("failed")}>
      Try ${count(failed, "failed one", "failed ones")} again
    </button>`}
    ${mayMake &&
    cancelled > 0 &&
    html`<button type="button" disabled=${busy} title="As a batch of their own" onClick=${() => again("cancelled")}>
      Make ${count(cancelled, "cancelled one", "cancelled ones")}
    </button>`}
    <button type="button" disabled=${busy} title="A JSON object a line" onClick=${download}>Download the results</button>
  </div>`;
}

function useTitle(name, { open, progress }) {
  useEffect(() => {
    document.title = open ? `${Math.floor(progress * 100)} % ${name} – cinelet` : `✓ ${name} – cinelet`;
    return () => {
      document.title = "cinelet";
    };
  });
}

// Says now and then how far it is to screen readers, and each end.
function useAnnouncements({ counts, open, total }) {
  const said = useRef({ at: performance.now(), open });
  useEffect(() => {
    const now = performance.now();
    const ends = open === 0 && said.current.open > 0;
    if (open === said.current.open || (!ends && now - said.current.at < SAID_EVERY_MS)) return;
    said.current = { at: now, open };
    const failed = counts.failed ? `, ${counts.failed} failed` : "";
    announce(`${ends ? "The batch has ended: " : ""}${counts.completed} of ${total} videos are ready${failed}`);
  });
}
