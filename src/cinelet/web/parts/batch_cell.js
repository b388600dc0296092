// One line of a batch: its picture, how far it is, or why there is none.
import { stage } from "../format.js";
import { html, useEffect, useRef, useState } from "../html.js";
import { hasKey } from "../api.js";
import { useMedia } from "../media.js";
import { linkTo } from "../router.js";
import { useStore } from "../store.js";
import { trashed } from "../trash.js";

// What a line is about, in words: the prompt, or what it was called where nothing could be made of it.
export function lineName({ line, custom_id: name, generation }) {
  return generation?.request.prompt ?? name ?? `Line ${line}`;
}

// line: the store of one line. label: what the link to it is called.
export function BatchCell({ line, label }) {
  const shown = useStore(line);
  const gone = useStore(trashed).has(shown.id);
  const state = gone ? "deleted" : shown.state;
  // Said before what is seen: in a grid the prompt stands beside its picture, in a matrix at the row's head.
  const inside = html`<span class="unseen">${label ?? lineName(shown)}, </span><${Screen} line=${shown} state=${state} />`;
  const { generation } = shown;
  if (!generation || state === "deleted") return html`<div class="cell" data-state=${state}>${inside}</div>`;
  return html`<a class="cell" data-state=${state} href=${linkTo("generation", generation.id)}>${inside}</a>`;
}

function Screen({ line, state }) {
  const { generation, error } = line;
  if (state === "completed") return html`<${Moving} generation=${generation} />`;
  if (state === "failed") {
    return html`<span class="cell-words failed">
      <span class="badge failed">${error?.code ?? "failed"}</span>
      <span class="reason" title=${error?.message}>${error?.message}</span>
    </span>`;
  }
  if (state === "in_progress") {
    const percent = Math.floor((generation?.progress ?? 0) * 100);
    return html`<span class="cell-words">
      <span>${generation ? stage({ ...generation, steps: 0 }) : "At work"}${percent ? ` ${percent} %` : ""}</span>
      <progress aria-hidden="true" max="1" value=${generation?.progress || undefined}></progress>
    </span>`;
  }
  return html`<span class="cell-words muted">${{ queued: "Waiting", cancelled: "Cancelled", deleted: "Deleted" }[state]}</span>`;
}

// The thumbnail; the video itself while somebody points at it.
function Moving({ generation }) {
  const place = useRef();
  const near = useNear(place);
  const [pointed, setPointed] = useState(false);
  const { links, result } = generation;
  const picture = useMedia(links.thumbnail, near);
  const video = useMedia(links.video, pointed);
  const [width, height] = result.resolution.split("x").map(Number);
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const point = (on) => () => setPointed(on && !still);
  return html`<span class="cell-picture" ref=${place} onMouseEnter=${point(true)} onMouseLeave=${point(false)}>
    <span class="unseen">Done</span>
    ${picture && html`<img src=${picture} alt="" width=${width} height=${height} loading="lazy" decoding="async" />`}
    ${video && html`<video src=${video} muted loop autoplay playsinline aria-hidden="true"></video>`}
  </span>`;
}

// Whether an element is, or was, near to what is looked at. Without a key the browser itself loads lazily.
function useNear(element) {
  const [near, setNear] = useState(!hasKey());
  useEffect(() => {
    if (near) return undefined;
    const observer = new IntersectionObserver(([entry]) => entry.isIntersecting && setNear(true), { rootMargin: "300px" });
    observer.observe(element.current);
    return () => observer.disconnect();
  }, [near]);
  return near;
}
