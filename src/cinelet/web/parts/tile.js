// A generation in the gallery: its picture, which plays when it is pointed at, and what it is.
import { caller } from "../api.js";
import { MOST, choose, chosen } from "../chosen.js";
import { seconds, stage } from "../format.js";
import { html, useEffect, useRef, useState } from "../html.js";
import { epoch, isFinal, useKnown } from "../live.js";
import { useMedia } from "../media.js";
import { useSettled } from "../nearness.js";
import { linkTo } from "../router.js";
import { place } from "../shelf.js";
import { useStore } from "../store.js";
import { promptOf } from "./generation_panel.js";
import { Reel } from "./reel.js";
import { When } from "./when.js";

// Width by height of the place of a picture, as the style sheet has it.
const SHAPE = 16 / 10;
const STATES = {
  queued: "Waiting",
  in_progress: "In progress",
  completed: "Done",
  failed: "Failed",
  cancelled: "Cancelled",
};
const still = matchMedia("(prefers-reduced-motion: reduce)");

// position, count: which of how many it is; count is -1 while nobody knows.
export function Tile({ id, position, count, onOpen, onDelete }) {
  const generation = useKnown(id);
  const [pointed, setPointed] = useState(false);
  const [focused, setFocused] = useState(false);
  const { role } = useStore(caller);
  const link = useRef();
  useEffect(() => {
    if (place.awaited !== id) return;
    place.awaited = null;
    link.current?.focus();
  }, []);
  if (!generation) return null;
  const prompt = promptOf(generation) || "Without a prompt";
  const { state } = generation;
  const plays = (pointed || focused) && state === "completed" && !still.matches;
  return html`<div
    class="tile"
    role="listitem"
    aria-posinset=${position}
    aria-setsize=${count}
    data-id=${id}
    data-state=${state}
    onPointerEnter=${(event) => event.pointerType !== "touch" && setPointed(true)}
    onPointerLeave=${() => setPointed(false)}
  >
    <a
      class="tile-link"
      ref=${link}
      href=${linkTo("generation", id)}
      onClick=${(event) => onOpen(id, event)}
      onFocus=${() => setFocused(true)}
      onBlur=${() => setFocused(false)}
    >
      <span class="tile-screen">
        <${Picture} generation=${generation} />
        ${plays && html`<${Reel} generation=${generation} shape=${SHAPE} />`}
      </span>
      <span class="tile-prompt" title=${prompt}>${prompt}</span>
    </a>
    <p class="tile-facts">
      <span class="badge ${state}">${STATES[state]}</span>
      <span class="tile-model" title=${generation.model ?? generation.requested_model}>${generation.model ?? generation.requested_model}</span>
      <${When} at=${generation.created_at} />
    </p>
    <${Choice} id=${id} prompt=${prompt} />
    ${role !== "read" &&
    isFinal(generation) &&
    html`<button type="button" class="tile-delete icon" aria-label=${`Delete: ${prompt}`} title="Delete" onClick=${() => onDelete(generation)}>
      <svg viewBox="0 0 20 20" width="18" height="18" aria-hidden="true">
        <path d="M3 5h14M8 5V3h4v2m3 0-.7 11.5H5.7L5 5m3.2 3 .3 6m3.3-6-.3 6" fill="none" stroke="currentColor" stroke-width="1.5" stroke-linecap="round" stroke-linejoin="round" />
      </svg>
    </button>`}
  </div>`;
}

function Picture({ generation }) {
  const { state, progress, error } = generation;
  if (state === "completed") return html`<${Thumbnail} generation=${generation} />`;
  if (state === "failed") return html`<span class="tile-words failed">${error.message}</span>`;
  if (state === "cancelled") return html`<span class="tile-words">Cancelled</span>`;
  const percent = state === "queued" ? 0 : Math.floor(progress * 100);
  return html`<span class="tile-words working">
    <span>${stage(generation)}${percent > 0 ? `, ${percent} %` : ""}</span>
    <progress aria-label="Progress" max="1" value=${state === "queued" ? 0 : progress || undefined}></progress>
  </span>`;
}

function Thumbnail({ generation }) {
  const url = useMedia(generation.links.thumbnail, useSettled());
  // Tried again once the service was away.
  const now = useStore(epoch);
  const [missedIn, setMissedIn] = useState(null);
  const { duration, thumbnail } = generation.result;
  return html`
    ${missedIn === now
      ? html`<span class="tile-words">Its picture cannot be shown</span>`
      : url &&
        html`<img src=${url} width=${thumbnail.width} height=${thumbnail.height} alt="" decoding="async" onError=${() => setMissedIn(now)} />`}
    <span class="tile-duration" aria-hidden="true">${seconds(duration)}</span>
  `;
}

function Choice({ id, prompt }) {
  const ids = useStore(chosen);
  const checked = ids.includes(id);
  const full = !checked && ids.length >= MOST;
  const title = full ? `At most ${MOST} can be compared` : "Choose it to be compared";
  return html`<label class="tile-choice" title=${title}>
    <input
      type="checkbox"
      aria-label=${`Compare: ${prompt}`}
      checked=${checked}
      disabled=${full}
      onChange=${(event) => choose(id, event.target.checked)}
    />
  </label>`;
}
