// A generation as it goes on, then its video, and what can be done with it.
import { announceOf, useTitle } from "../progress_words.js";
import { html, useEffect, useRef } from "../html.js";
import { seconds, stage } from "../format.js";
import { isFinal, useGeneration } from "../live.js";
import { useMedia } from "../media.js";
import { linkTo } from "../router.js";
import { useStore } from "../store.js";
import { announce } from "../toasts.js";
import { trashed } from "../trash.js";
import { Cancel, NextActions } from "./actions.js";
import { NoticeSwitch } from "../notices.js";
import { Player } from "./player.js";

// onMade: what "again" and the like have begun. onGone: it was deleted, or never was.
export function GenerationPanel({ id, onMade, onGone }) {
  const { generation, error } = useGeneration(id);
  const deleted = useStore(trashed).has(id);
  useTitle(generation);
  useAnnouncements(generation);
  if (deleted || error?.status === 404 || generation === null) {
    return html`<div class="card empty">
      <h2>This video is gone</h2>
      <p>It was deleted, or it is somebody else's.</p>
      <button type="button" onClick=${onGone}>Start anew</button>
    </div>`;
  }
  if (!generation) {
    return html`<div class="card empty" role="status"><p>${error ? error.message : "Looking for it…"}</p></div>`;
  }
  return html`<article class="card panel" data-state=${generation.state} aria-label=${promptOf(generation)}>
    ${generation.state === "completed" ? html`<${Player} generation=${generation} autoplay />` : html`<${Progress} generation=${generation} />`}
    <p class="prompt" title=${promptOf(generation)}>${promptOf(generation)}</p>
    ${generation.state === "completed" && html`<${Adjusted} generation=${generation} />`}
    ${isFinal(generation) && html`<${NextActions} generation=${generation} onMade=${onMade} brief />`}
    <p class="panel-more"><a href=${linkTo("generation", id)}>Everything about it</a></p>
  </article>`;
}

export function promptOf(generation) {
  return generation.request.prompt ?? (generation.request.task === "image-to-video" ? "From an image" : "");
}

// What was changed of what was asked, in one line.
function Adjusted({ generation }) {
  const { adjustments } = generation;
  const made = generation.model !== generation.requested_model;
  if (!adjustments.length && !made) return null;
  return html`<ul class="adjusted">
    ${made && html`<li>Made by ${generation.model}, because ${generation.requested_model} failed</li>`}
    ${adjustments.map(({ parameter, reason }) => html`<li><strong>${parameter.replaceAll("_", " ")}</strong>: ${reason}</li>`)}
  </ul>`;
}

// How far it is, or why there is no video.
export function Progress({ generation }) {
  const { state, progress, eta_seconds: eta, error, note, stage: name } = generation;
  if (state === "failed") {
    return html`<div class="screen failed" role="alert">
      <h2>It could not be made</h2>
      <p>${error.message}</p>
      <${Attempts} attempts=${generation.attempts} />
    </div>`;
  }
  if (state === "cancelled") {
    return html`<div class="screen failed"><h2>Cancelled</h2><p>Nothing was kept.</p></div>`;
  }
  const percent = Math.floor(progress * 100);
  return html`<div class="screen working ${state}">
    <${Glimpse} path=${generation.links.preview} />
    <div class="working-words">
      <h2>${stage(generation)}</h2>
      <p class="muted">
        ${percent > 0 ? `${percent} %` : ""}${eta !== null && eta > 0.5 && name === "denoising" ? `, about ${seconds(eta)} more of drawing` : ""}
      </p>
    </div>
    <progress aria-label="Progress" max="1" value=${state === "queued" ? 0 : progress || undefined}></progress>
    <${Stages} generation=${generation} />
    ${note && html`<p class="hint">${note}</p>`}
    <div class="working-end"><${NoticeSwitch} /><${Cancel} generation=${generation} /></div>
  </div>`;
}

// What it looks like so far. The last picture stays until the next one is there.
function Glimpse({ path }) {
  const url = useMedia(path);
  const last = useRef(null);
  if (!path) last.current = null;
  else if (url) last.current = url;
  return last.current && html`<img class="glimpse" src=${last.current} alt="What it looks like so far" />`;
}

const STEPS = [
  ["queued", "Wait"],
  ["loading", "Load"],
  ["denoising", "Draw"],
  ["decoding", "Decode"],
  ["encoding", "Write"],
];
const SAME_AS = { downloading: "decoding", storing: "encoding" };

function Stages({ generation }) {
  const name = generation.state === "queued" ? "queued" : (generation.stage ?? "loading");
  const now = STEPS.findIndex(([step]) => step === (SAME_AS[name] ?? name));
  return html`<ol class="stages" aria-hidden="true">
    ${STEPS.map(([step, label], index) => html`<li key=${step} class=${index < now ? "done" : index === now ? "now" : ""}>${label}</li>`)}
  </ol>`;
}

export function Attempts({ attempts }) {
  if (!attempts.length) return null;
  return html`<ol class="attempts" aria-label="Attempts">
    ${attempts.map(
      ({ model, provider, seconds: took, error, why, may_be_billed: billed }) => html`<li class=${error ? "failed" : "completed"}>
        <strong>${model}</strong>${provider ? ` at ${provider}` : ""}, ${seconds(took)}:
        ${error ? html` <span class="badge failed">${error.code}</span> ${error.message}${billed ? " It may be billed." : ""}` : html` <span class="badge completed">made it</span>`}
        ${why && html`<span class="hint"> ${why}</span>`}
      </li>`,
    )}
  </ol>`;
}

// Says each new stage to screen readers, and not each step.
export function useAnnouncements(generation) {
  const said = useRef(null);
  useEffect(() => {
    if (!generation) return;
    const words = announceOf(generation);
    if (said.current !== null && said.current !== words) announce(words);
    said.current = words;
  });
}
