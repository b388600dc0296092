// Some rows of the gallery: far from the window they keep their height and give up their elements.
import { grid, heightOf, measure, rowsOf, topOf } from "../grid.js";
import { html, useEffect, useRef } from "../html.js";
import { epoch } from "../live.js";
import { NEAR, useNear } from "../nearness.js";
import { place, refresh } from "../shelf.js";
import { useStore } from "../store.js";
import { Tile } from "./tile.js";

// first: the place of its first card among all. count: how many cards there are; -1 while nobody knows.
export function Chunk({ ids, first, count, onOpen, onDelete }) {
  const { columns } = useStore(grid);
  const element = useRef();
  const near = useNear(element, Math.abs(topOf(first) - place.scroll) < NEAR);
  const now = useStore(epoch);
  useEffect(() => {
    if (near) refresh(ids);
  }, [near, now]);
  useEffect(() => {
    if (!near) return undefined;
    const watch = new ResizeObserver(([{ contentRect }]) => measure(contentRect.height, rowsOf(ids.length)));
    watch.observe(element.current);
    return () => watch.disconnect();
  }, [near, ids.length, columns]);
  const style = near
    ? { gridTemplateColumns: `repeat(${columns}, minmax(0, 1fr))`, height: undefined }
    : { height: `${heightOf(ids.length)}px`, gridTemplateColumns: undefined };
  return html`<div class="chunk" ref=${element} style=${style}>
    ${near &&
    ids.map(
      (id, index) =>
        html`<${Tile} key=${id} id=${id} position=${first + index + 1} count=${count} onOpen=${onOpen} onDelete=${onDelete} />`,
    )}
  </div>`;
}
