// A video, in a loop.
import { html, useState } from "../html.js";
import { useMedia } from "../media.js";

// A small video is shown larger, and not so large that it is nothing but blur.
const MAX_SCALE = 3;

export function Player({ generation, autoplay = false, elementRef }) {
  const url = useMedia(generation.links.video);
  const poster = useMedia(generation.links.thumbnail);
  const [broken, setBroken] = useState(false);
  const { resolution, codec } = generation.result;
  const [width, height] = resolution.split("x").map(Number);
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  if (broken) {
    return html`<div class="screen failed" role="alert">
      <h2>This browser cannot play it</h2>
      <p>The file is sound (${codec}, ${resolution}): download it, or try another browser.</p>
    </div>`;
  }
  return html`<div class="screen">
    <video
      ref=${elementRef}
      src=${url}
      poster=${poster}
      width=${width}
      height=${height}
      style=${{ width: `min(100%, ${MAX_SCALE * width}px, calc(70vh * ${width / height}))`, aspectRatio: `${width} / ${height}` }}
      controls
      loop
      muted
      playsinline
      autoplay=${autoplay && !still}
      aria-label=${generation.request.prompt ?? "The video"}
      onError=${() => url && setBroken(true)}
    ></video>
  </div>`;
}
