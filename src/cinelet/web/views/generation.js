// Everything about one generation.
import { valuesOf } from "../draft.js";
import { html, useEffect } from "../html.js";
import { useGeneration } from "../live.js";
import { useMedia } from "../media.js";
import { NextActions } from "../parts/actions.js";
import { AskedAndApplied, Facts } from "../parts/facts.js";
import { Attempts, Progress, promptOf, useAnnouncements } from "../parts/generation_panel.js";
import { Player } from "../parts/player.js";
import { SnippetTabs } from "../parts/snippet_tabs.js";
import { Timings } from "../parts/timings.js";
import { useTitle } from "../progress_words.js";
import { goTo, linkTo } from "../router.js";
import { useStore } from "../store.js";
import { trashed } from "../trash.js";

const STATES = { queued: "waiting", in_progress: "being made", completed: "done", failed: "failed", cancelled: "cancelled" };

export function GenerationView({ id }) {
  const { generation, error } = useGeneration(id);
  const gone = useStore(trashed).has(id);
  useTitle(generation);
  useAnnouncements(generation);
  useEffect(() => {
    if (gone) goTo("gallery");
  }, [gone]);
  if (error?.status === 404 || generation === null) return html`<${Gone} />`;
  if (!generation) return html`<section class="empty" role="status"><h1 tabindex="-1">One moment</h1><p>${error?.message}</p></section>`;
  const completed = generation.state === "completed";
  const { attempts } = generation;
  return html`<article class="generation">
    <div class="generation-screen">
      ${completed ? html`<${Player} generation=${generation} autoplay />` : html`<${Progress} generation=${generation} />`}
      <${NextActions} generation=${generation} onMade=${(made) => goTo("generation", made.id)} />
    </div>
    <div class="generation-side">
      <p class="crumbs"><a href=${linkTo("gallery")}>Gallery</a> <span class="badge ${generation.state}">${STATES[generation.state]}</span></p>
      <h1 tabindex="-1" class="generation-prompt">${promptOf(generation)}</h1>
      ${generation.request.negative_prompt && html`<p class="muted">Without: ${generation.request.negative_prompt}</p>`}
      <${FirstImage} generation=${generation} />
      <${Facts} generation=${generation} />
    </div>
    <div class="generation-more">
      <section class="card"><h2>Asked, applied, changed</h2><${AskedAndApplied} generation=${generation} /></section>
      ${(generation.started_at || completed) && html`<section class="card"><h2>Where the time went</h2><${Timings} generation=${generation} /></section>`}
      ${completed && attempts.length > 0 && html`<section class="card"><h2>Attempts</h2><${Attempts} attempts=${attempts} /></section>`}
      <section class="card">
        <h2>Make it from a program</h2>
        <${SnippetTabs} values=${valuesOf(generation, { keepSeed: true })} image=${Boolean(generation.links.image)} />
      </section>
    </div>
  </article>`;
}

function FirstImage({ generation }) {
  const url = useMedia(generation.links.image);
  if (!generation.links.image) return null;
  return html`<figure class="first-image">${url && html`<img src=${url} alt="The image that it begins with" />`}<figcaption class="hint">It begins with this image.</figcaption></figure>`;
}

function Gone() {
  return html`<section class="empty">
    <h1 tabindex="-1">There is no such video</h1>
    <p>It was deleted, or it is somebody else's. <a href=${linkTo("gallery")}>Look at the others</a> or <a href=${linkTo("make")}>make one</a>.</p>
  </section>`;
}
