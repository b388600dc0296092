// How models did lately: what is slow, what fails, what it costs, and what waits.
import { caller } from "../api.js";
import { money, seconds } from "../format.js";
import { html, useState } from "../html.js";
import { ModelStats } from "../parts/model_stats.js";
import { NextModels } from "../parts/next_models.js";
import { QueueStats } from "../parts/queue_stats.js";
import { linkTo, replaceQuery } from "../router.js";
import { USUAL, WINDOWS, useStats } from "../stats_facts.js";
import { useStore } from "../store.js";

export function Stats({ query }) {
  const asked = query.get("window");
  const window = WINDOWS.some(([name]) => name === asked) ? asked : USUAL;
  const { stats, error, read } = useStats(window);
  const { role } = useStore(caller);
  const [again, setAgain] = useState(0);
  const readAll = () => {
    setAgain(again + 1);
    read();
  };
  return html`<div class="admin">
    <div class="admin-head">
      <h1 tabindex="-1">Stats</h1>
      <p class="muted">${role === "admin" ? "What everybody's videos did" : "What your videos did"}, up to now.</p>
      <${WindowPicker} window=${window} />
      <button type="button" onClick=${readAll}>Read now</button>
    </div>
    <div role="status">${error && html`<p class="stale">${error.message}${stats ? " What is shown was so before." : ""}</p>`}</div>
    ${stats ? html`<${Told} stats=${stats} late=${stats.window !== window} again=${again} />` : !error && html`<p class="muted">Asking…</p>`}
  </div>`;
}

function WindowPicker({ window }) {
  return html`<fieldset class="windows">
    <legend class="unseen">Window</legend>
    ${WINDOWS.map(
      ([name, label]) => html`<label key=${name} class="window">
        <input type="radio" name="window" value=${name} checked=${name === window} onChange=${() => replaceQuery("stats", { window: name })} />
        ${label}
      </label>`,
    )}
  </fieldset>`;
}

function Told({ stats, late, again }) {
  const { total, models, more_models: more, queue, currency } = stats;
  return html`<div class="admin" aria-busy=${late ? "true" : undefined}>
    ${total.attempts > 0 && html`<section class="card" aria-label="All models together"><${Figures} total=${total} currency=${currency} /></section>`}
    <section class="card" aria-labelledby="models">
      <h2 id="models">Models</h2>
      ${models.length ? html`<${ModelStats} models=${models} currency=${currency} />` : html`<${Nothing} />`}
      ${more > 0 && html`<p class="hint">And ${more.toLocaleString()} more models, with fewer attempts.</p>`}
    </section>
    <section class="card" aria-labelledby="queue-now">
      <h2 id="queue-now">Waits and runs now</h2>
      <${QueueStats} queue=${queue} />
    </section>
    <section class="card" aria-labelledby="next">
      <h2 id="next">Runs next, where the service chooses</h2>
      <${NextModels} currency=${currency} again=${again} />
    </section>
  </div>`;
}

function Nothing() {
  return html`<div class="nothing">
    <p>No model was tried in this time, so there is nothing to tell.</p>
    <p><a href=${linkTo("make")}>Make a video</a>, or look at a longer time.</p>
  </div>`;
}

function Figures({ total, currency }) {
  const { success_rate: success, seconds_per_video_second: rate, queue_seconds: wait, cost, unpriced } = total;
  return html`<dl class="figures">
    <div>
      <dt>Success</dt>
      <dd data-figure="success">${success === null ? "unknown" : percent(success)}</dd>
      <dd class="hint">${total.succeeded.toLocaleString()} of ${(total.succeeded + total.failed).toLocaleString()} attempts</dd>
    </div>
    <div>
      <dt>A second of video takes</dt>
      <dd>${rate.p50 === null ? "unknown" : seconds(rate.p50)}</dd>
      <dd class="hint">${rate.p95 === null ? "" : `95 of 100 at most ${seconds(rate.p95)}`}</dd>
    </div>
    <div>
      <dt>Wait</dt>
      <dd>${wait.p50 === null ? "unknown" : seconds(wait.p50)}</dd>
      <dd class="hint">${wait.p95 === null ? "" : `95 of 100 at most ${seconds(wait.p95)}`}</dd>
    </div>
    <div><dt>Video made</dt><dd>${seconds(total.video_seconds)}</dd></div>
    <div>
      <dt>Cost</dt>
      <dd data-figure="cost">${cost === null ? "unknown" : money(cost, currency)}</dd>
      <dd class="hint">${unpriced ? `${unpriced.toLocaleString()} attempts without a known cost` : ""}</dd>
    </div>
  </dl>`;
}

function percent(share) {
  // Not 100 where anything failed.
  return share === 1 ? "100 %" : `${(Math.floor(share * 1000) / 10).toLocaleString()} %`;
}
