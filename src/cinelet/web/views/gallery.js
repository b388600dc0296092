// What was made: all of it, the newest first.
import { count } from "../format.js";
import { chunkSize, cardAt, fit, grid, topOf } from "../grid.js";
import { html, useEffect, useLayoutEffect, useRef } from "../html.js";
import { useReached } from "../nearness.js";
import { ChoiceBar } from "../parts/choice_bar.js";
import { Chunk } from "../parts/chunk.js";
import { GalleryFilter } from "../parts/gallery_filter.js";
import { linkTo, replaceQuery } from "../router.js";
import { anew, fill, hold, more, place, sameFilter, shelf } from "../shelf.js";
import { useStore } from "../store.js";
import { announce } from "../toasts.js";
import { trash, trashed } from "../trash.js";

const NO_FILTER = { state: "", model: "", text: "" };
const STATES = new Set(["queued", "in_progress", "completed", "failed", "cancelled"]);
// New ones are shown by themselves to whoever looks at the newest.
const AT_TOP = 300;

export function Gallery({ query }) {
  const state = query.get("state") ?? "";
  const filter = {
    state: STATES.has(state) ? state : "",
    model: (query.get("model") ?? "").slice(0, 500),
    text: (query.get("text") ?? "").slice(0, 200).trim(),
  };
  const { filter: shown, ids: all, held, next, reading, changing, error } = useStore(shelf);
  const gone = useStore(trashed);
  const ids = gone.size ? all.filter((id) => !gone.has(id)) : all;
  useEffect(() => fill(filter));
  useEffect(() => {
    if (shelf.value.error) anew();
    return () => hold(false);
  }, []);
  useAnnouncements({ shown, ids, next, changing });
  const filtered = !sameFilter(filter, NO_FILTER);
  const onFilter = (wanted) => replaceQuery("gallery", wanted);

  let content;
  if (ids.length) {
    content = html`<${Cards} ids=${ids} next=${next} busy=${changing} />
      <${End} ids=${ids} next=${next} reading=${reading} error=${error} />`;
  } else if (error) {
    content = html`<${Away} error=${error} />`;
  } else if (shown === null || changing || next !== null) {
    content = html`<p class="empty" role="status">Looking for videos…</p>`;
  } else if (filtered) {
    content = html`<${NothingFits} onClear=${() => onFilter(NO_FILTER)} />`;
  } else {
    content = html`<${NothingYet} />`;
  }
  return html`<section class="gallery">
    <div class="gallery-top">
      <h1 tabindex="-1">Gallery</h1>
      <${GalleryFilter} filter=${filter} onFilter=${onFilter} />
    </div>
    <${ChoiceBar} />
    ${held.length > 0 &&
    html`<button type="button" class="primary newer" onClick=${() => window.scrollTo({ top: 0 })}>${count(held.length, "new video")} ↑</button>`}
    ${content}
  </section>`;
}

function Cards({ ids, next, busy }) {
  const { columns } = useStore(grid);
  const list = useRef();
  useScroll(list);
  useColumns(list);
  const { onOpen, onDelete } = useFocus(list, ids);
  const size = chunkSize();
  const total = next === null ? ids.length : -1;
  // What has not changed is not looked at again: there may be a thousand chunks.
  const before = useRef(new Map());
  const now = new Map();
  for (let first = 0; first < ids.length; first += size) {
    const some = ids.slice(first, first + size);
    const key = `${columns}/${first}`;
    const drawn = before.current.get(key);
    const same = drawn?.total === total && drawn.some.length === some.length && some.every((id, index) => id === drawn.some[index]);
    const element = same
      ? drawn.element
      : html`<${Chunk} key=${key} ids=${some} first=${first} count=${total} onOpen=${onOpen} onDelete=${onDelete} />`;
    now.set(key, { some, total, element });
  }
  before.current = now;
  return html`<div class="tiles" ref=${list} role="list" aria-label="Videos" aria-busy=${busy ? "true" : undefined}>
    ${[...now.values()].map(({ element }) => element)}
  </div>`;
}

// Keeps where we are, and comes back to it.
function useScroll(list) {
  useLayoutEffect(() => {
    window.scrollTo(0, place.scroll);
    const link = place.opened && list.current.querySelector(`[data-id="${CSS.escape(place.opened)}"] a`);
    link?.focus({ preventScroll: true });
    place.opened = null;
    const scrolled = () => {
      // Whoever has opened one is on the way: what the window does meanwhile is not where he was.
      if (place.opened !== null || !list.current?.isConnected) return;
      place.scroll = window.scrollY;
      hold(place.scroll > AT_TOP);
    };
    scrolled();
    window.addEventListener("scroll", scrolled, { passive: true });
    return () => window.removeEventListener("scroll", scrolled);
  }, []);
}

// As many columns as fit; what was in the window stays in it when there are more or fewer.
function useColumns(list) {
  useLayoutEffect(() => {
    fit(list.current.clientWidth);
    const watch = new ResizeObserver(([{ contentRect }]) => {
      const above = list.current.getBoundingClientRect().top + window.scrollY;
      const card = cardAt(window.scrollY - above);
      if (fit(contentRect.width) && card) requestAnimationFrame(() => window.scrollTo(0, above + topOf(card)));
    });
    watch.observe(list.current);
    return () => watch.disconnect();
  }, []);
}

// Keeps the focus where it is while cards come and go. Returns {onOpen, onDelete}.
function useFocus(list, ids) {
  const focused = useRef(null);
  const shown = useRef(ids);
  shown.current = ids;
  const to = (id) => list.current?.querySelector(`[data-id="${CSS.escape(id)}"] a`)?.focus({ preventScroll: true });
  useEffect(() => {
    const element = list.current;
    const came = ({ target }) => {
      focused.current = target.closest("[data-id]")?.dataset.id ?? null;
    };
    // An element that is taken away, because its card is in another chunk now, was not left by anybody.
    const left = ({ target }) =>
      setTimeout(() => {
        if (target.isConnected && !element.contains(document.activeElement)) focused.current = null;
      });
    element.addEventListener("focusin", came);
    element.addEventListener("focusout", left);
    return () => {
      element.removeEventListener("focusin", came);
      element.removeEventListener("focusout", left);
    };
  }, []);
  useLayoutEffect(() => {
    if (focused.current && document.activeElement === document.body) to(focused.current);
  }, [ids]);
  const actions = useRef({
    onOpen(id, { ctrlKey, metaKey, shiftKey }) {
      // Into another tab or window: here we stay.
      if (ctrlKey || metaKey || shiftKey) return;
      place.scroll = window.scrollY;
      place.opened = id;
    },
    onDelete(generation) {
      const index = shown.current.indexOf(generation.id);
      focused.current = shown.current[index + 1] ?? shown.current[index - 1] ?? null;
      trash(generation);
      if (!focused.current) document.querySelector("main h1")?.focus();
    },
  });
  return actions.current;
}

function End({ ids, next, reading, error }) {
  const element = useRef();
  useReached(element, more, `${ids.length} ${reading} ${error}`);
  function moreByHand() {
    // Whoever asked with the keyboard goes on where the new ones begin.
    const end = shelf.subscribe(({ ids: now, error: failed }) => {
      if (now.length > ids.length) place.awaited = now[ids.length];
      if (now.length > ids.length || failed) end();
    });
    more();
  }
  return html`<div class="gallery-end" ref=${error ? undefined : element}>
    ${error
      ? html`<p class="error" role="alert">${error.message}</p><button type="button" onClick=${more}>Try again</button>`
      : next === null
        ? html`<p class="muted">${count(ids.length, "video")}</p>`
        : html`<button type="button" aria-disabled=${reading ? "true" : undefined} onClick=${moreByHand}>${reading ? "Reading…" : "More"}</button>`}
  </div>`;
}

function NothingYet() {
  return html`<div class="empty">
    <h2>Nothing was made yet</h2>
    <p>Videos appear here as soon as they are asked for.</p>
    <p><a class="button primary" href=${linkTo("make")}>Make a video</a></p>
  </div>`;
}

function NothingFits({ onClear }) {
  return html`<div class="empty">
    <h2>Nothing fits</h2>
    <p>There is no video of this state, model and words.</p>
    <button type="button" class="primary" onClick=${onClear}>Show all</button>
  </div>`;
}

function Away({ error }) {
  return html`<div class="empty" role="alert">
    <h2>${error.status === 0 ? "The service is away" : "The videos cannot be shown"}</h2>
    <p>${error.message}</p>
    <button type="button" class="primary" onClick=${anew}>Try again</button>
  </div>`;
}

// Says what another filter found.
function useAnnouncements({ shown, ids, next, changing }) {
  const said = useRef(shown);
  useEffect(() => {
    if (changing || shown === said.current) return;
    const first = said.current === null;
    said.current = shown;
    if (!first) announce(ids.length ? `${count(ids.length, "video")}${next === null ? "" : ", and more"}` : "Nothing fits");
  }, [shown, changing]);
}
