// Earlier batches, the newest first.
import { get, withQuery } from "../api.js";
import { ago, count, moment } from "../format.js";
import { html, useEffect, useRef, useState } from "../html.js";
import { epoch, onChange } from "../live.js";
import { linkTo } from "../router.js";
import { useStore } from "../store.js";
import { complain } from "../toasts.js";

const READ_PAUSE = 1500;
const PAGE = 20;

export function BatchList({ mayMake }) {
  const [page, setPage] = useState(null);
  const [error, setError] = useState(null);
  const now = useStore(epoch);
  const more = useRef(0);

  useEffect(() => {
    const reading = new AbortController();
    let timer = null;
    async function read() {
      timer = null;
      try {
        const limit = Math.min(100, PAGE + more.current);
        setPage(await get(withQuery("/v1/batches", { limit }), { signal: reading.signal }));
        setError(null);
      } catch (failed) {
        if (failed.name !== "AbortError") setError(failed);
      }
    }
    const end = onChange(() => {
      timer ??= setTimeout(read, READ_PAUSE);
    });
    read();
    return () => {
      end();
      clearTimeout(timer);
      reading.abort();
    };
  }, [now]);

  async function readMore() {
    try {
      const next = await get(withQuery("/v1/batches", { limit: PAGE, after: page.next }));
      more.current += next.data.length;
      setPage({ data: [...page.data, ...next.data], next: next.next });
    } catch (failed) {
      complain(failed);
    }
  }

  return html`<section class="batch-list" aria-label="Earlier batches">
    <h2>Earlier batches</h2>
    ${!page && html`<p class="muted" role="status">${error ? error.message : "Looking…"}</p>`}
    ${page?.data.length === 0 &&
    html`<div class="placeholder empty">
      <p>${mayMake ? "There is none yet. Paste a few prompts, and watch the grid fill." : "There is none yet."}</p>
    </div>`}
    ${page?.data.length > 0 && html`<ul>${page.data.map((batch) => html`<${Entry} key=${batch.id} batch=${batch} />`)}</ul>`}
    ${page?.next && html`<button type="button" onClick=${readMore}>Show more</button>`}
  </section>`;
}

export function batchName({ metadata, counts }) {
  return metadata.name || count(counts.total, "video");
}

function Entry({ batch }) {
  const { counts, created_at: at } = batch;
  const ended = counts.total - counts.queued - counts.in_progress;
  return html`<li class="card entry">
    <a href=${linkTo("batch", batch.id)}>${batchName(batch)}</a>
    <span class="badge ${batch.state}">${{ in_progress: "at work", completed: "done", cancelled: "cancelled" }[batch.state]}</span>
    <progress aria-label="Progress of ${batchName(batch)}" max=${counts.total} value=${ended}></progress>
    <span class="hint">
      ${counts.completed.toLocaleString()} of ${count(counts.total, "video")}${counts.failed ? html`, <span class="bad">${counts.failed.toLocaleString()} failed</span>` : ""}
      ${" · "}<time datetime=${new Date(at * 1000).toISOString()} title=${moment(at)}>${ago(at)}</time>
    </span>
  </li>`;
}
