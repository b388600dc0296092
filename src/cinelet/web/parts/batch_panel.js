// One batch as it goes on: how far it is, what can be done with it, and its lines.
import { caller } from "../api.js";
import { matrixOf } from "../batch/plan.js";
import { sendAgain } from "../batch/sending.js";
import { WatchedBatch } from "../batch/watched.js";
import { useBusy } from "../busy.js";
import { count, moment, seconds } from "../format.js";
import { html, useEffect, useMemo, useRef } from "../html.js";
import { save } from "../media.js";
import { goTo, linkTo } from "../router.js";
import { useStore } from "../store.js";
import { announce } from "../toasts.js";
import { BatchGrid } from "./batch_grid.js";
import { batchName } from "./batch_list.js";
import { BatchMatrix } from "./batch_matrix.js";

const SAID_EVERY_MS = 10_000;

export function BatchPanel({ id }) {
  const watched = useMemo(() => new WatchedBatch(id), [id]);
  useEffect(() => watched.watch(), [watched]);
  const head = useStore(watched.head);
  const error = useStore(watched.error);
  const heading = useRef();
  const matrix = head && matrixOf(head);
  return html`<article class="batch" data-state=${head?.state} aria-labelledby="batch-name">
    <p class="crumb"><a href=${linkTo("batch")}>← All batches</a></p>
    <header class="card batch-head">
      <div class="batch-title">
        <h1 tabindex="-1" id="batch-name" ref=${heading}>${error?.status === 404 ? "This batch is gone" : head ? batchName(head) : "Batch"}</h1>
        <p class="hint">${head ? html`<${Origin} head=${head} />` : words(error)}</p>
      </div>
      ${head && html`<${Far} watched=${watched} head=${head} heading=${heading} />`}
    </header>
    ${head && (matrix ? html`<${BatchMatrix} watched=${watched} matrix=${matrix} />` : html`<${BatchGrid} watched=${watched} />`)}
  </article>`;
}

function words(error) {
  if (error?.status === 404) return "It was deleted, or it is somebody else's.";
  return error ? error.message : "Looking for it…";
}

function Origin({ head: { metadata, counts, created_at: at } }) {
  return html`${metadata.name && `${count(counts.total, "video")}, `}asked for ${moment(at)}
  ${metadata.again_of && html`, <a href=${linkTo("batch", metadata.again_of)}>after an earlier batch</a>`}`;
}

// What can be done with it, and how far it is.
function Far({ watched, head, heading }) {
  const tally = useStore(watched.tally);
  const { role } = useStore(caller);
  useTitle(batchName(head), tally);
  useAnnouncements(tally);
  const { counts, open, progress, rest } = tally;
  const percent = Math.floor(progress * 100);
  const ended = head.cancel_requested && counts.cancelled ? "Cancelled" : "Done";
  return html`
    <${Actions} watched=${watched} head=${head} tally=${tally} mayMake=${role !== "read"} heading=${heading} />
    <div class="batch-far">
      <div class="far-words">
        <strong>${open ? `${percent} %` : ended}</strong>
        ${open > 0 && head.cancel_requested && html` <span class="muted">cancelling the rest</span>`}
        ${rest !== null && !head.cancel_requested && html` <span class="muted">about ${seconds(rest)} more</span>`}
        <${Counts} counts=${counts} />
      </div>
      <progress aria-label="Progress of the batch" max="1" value=${progress}></progress>
    </div>
  `;
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

function Actions({ watched, head, tally, mayMake, heading }) {
  const [busy, doing] = useBusy();

  const linesThat = (state) =>
    [...watched.lines.values()].map((store) => store.value).filter((line) => line.state === state && line.generation);
  const again = (state) => doing(async () => goTo("batch", (await sendAgain(head, linesThat(state))).id));
  const cancel = () =>
    doing(async () => {
      await watched.cancel();
      // The button goes away with what it was for.
      heading.current?.focus();
    });
  const download = () => doing(async () => save(await watched.results(), `${head.id}.jsonl`));
  const failed = tally.counts.failed ? linesThat("failed").length : 0;
  const cancelled = tally.open ? 0 : tally.counts.cancelled;
  const cancelling = head.cancel_requested && tally.open > 0;
  return html`<div class="buttons">
    ${mayMake &&
    tally.open > 0 &&
    html`<button type="button" class="danger" disabled=${busy || cancelling} onClick=${cancel}>
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
