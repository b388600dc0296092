// A video at a glance: the frames of its spritesheet, one after the other, as fast as the video is.
import { html, useEffect, useRef } from "../html.js";
import { useMedia } from "../media.js";

export function Reel({ generation, shape }) {
  const url = useMedia(generation.links.spritesheet);
  const { columns, rows, frames, cell_width: width, cell_height: height, interval_seconds: interval } = generation.result.spritesheet;
  const element = useRef();
  useEffect(() => {
    if (!url) return undefined;
    const { style } = element.current;
    let frame = 0;
    const show = () => {
      const column = frame % columns;
      const row = Math.floor(frame / columns);
      // A position in percent is a share of what does not fit.
      const share = (index, count) => (count > 1 ? (100 * index) / (count - 1) : 0);
      style.backgroundPosition = `${share(column, columns)}% ${share(row, rows)}%`;
      frame = (frame + 1) % frames;
    };
    show();
    const timer = setInterval(show, Math.max(interval * 1000, 20));
    return () => clearInterval(timer);
  }, [url]);
  if (!url) return null;
  const wide = width / height >= shape;
  const looks = {
    aspectRatio: `${width} / ${height}`,
    backgroundImage: `url("${url}")`,
    backgroundSize: `${columns * 100}% ${rows * 100}%`,
    [wide ? "width" : "height"]: "100%",
  };
  return html`<div class="reel" ref=${element} style=${looks} aria-hidden="true"></div>`;
}
