// One of the generations that are compared: its video, or why there is none.
import { html, useEffect, useRef, useState } from "../html.js";
import { useMedia } from "../media.js";
import { linkTo } from "../router.js";
import { Progress, promptOf } from "./generation_panel.js";

// letter: what it is called in the table. gone: it was deleted, or never was.
export function Compared({ letter, generation, gone, error, unison, onRemove }) {
  const name = generation ? promptOf(generation) || "Without a prompt" : "";
  return html`<article class="compared" aria-label=${`${letter}: ${gone ? "deleted" : name}`}>
    <${Screen} letter=${letter} generation=${generation} gone=${gone} error=${error} unison=${unison} />
    <div class="compared-name">
      <strong class="letter" aria-hidden="true">${letter}</strong>
      ${generation && !gone ? html`<a href=${linkTo("generation", generation.id)}>${name}</a>` : html`<span class="muted">${gone ? "Deleted" : ""}</span>`}
      <button type="button" class="quiet icon" aria-label=${`Take ${letter} out`} title="Take it out" onClick=${onRemove}>×</button>
    </div>
  </article>`;
}

function Screen({ letter, generation, gone, error, unison }) {
  if (gone) {
    return html`<div class="screen failed"><h2>This video is gone</h2><p>It was deleted, or it is somebody else's.</p></div>`;
  }
  if (!generation) {
    return html`<div class="screen working" role="status"><p>${error ? error.message : "Looking for it…"}</p></div>`;
  }
  if (generation.state !== "completed") return html`<${Progress} generation=${generation} />`;
  return html`<${InStep} letter=${letter} generation=${generation} unison=${unison} />`;
}

function InStep({ letter, generation, unison }) {
  const url = useMedia(generation.links.video);
  const poster = useMedia(generation.links.thumbnail);
  const [broken, setBroken] = useState(false);
  const video = useRef();
  const [width, height] = generation.result.resolution.split("x").map(Number);
  useEffect(() => (broken ? undefined : unison.add(video.current)), [unison, broken]);
  if (broken) {
    return html`<div class="screen failed" role="alert">
      <h2>This browser cannot play it</h2>
      <p>The file is sound (${generation.result.codec}).</p>
    </div>`;
  }
  return html`<div class="screen">
    <video
      ref=${video}
      src=${url}
      poster=${poster}
      width=${width}
      height=${height}
      preload="auto"
      muted
      playsinline
      aria-label=${`${letter}: ${promptOf(generation)}`}
      onError=${() => url && setBroken(true)}
    ></video>
  </div>`;
}
