// The lines of a batch as a grid, all of them or those that are so far.
import { useShape } from "../batch/shape.js";
import { count } from "../format.js";
import { html, useEffect, useMemo, useState } from "../html.js";
import { useStore } from "../store.js";
import { BatchCell, lineName } from "./batch_cell.js";

const SHOWN_AT_ONCE = 500;
const DRAWN_AT_ONCE = 60;
const FILTERS = [
  ["", "All"],
  ["completed", "Done"],
  ["open", "Not yet"],
  ["failed", "Failed"],
];

export function BatchGrid({ watched }) {
  const numbers = useStore(watched.numbers);
  const [filter, setFilter] = useState("");
  const [most, setMost] = useState(SHOWN_AT_ONCE);
  const shape = useShape(watched);
  const mixed = useMemo(() => modelsOf(watched, numbers).size > 1, [watched, numbers]);
  const kept = useKept(watched, numbers, filter);
  const drawn = useGrowing(Math.min(most, kept.length));
  return html`<section aria-label="Lines">
    ${numbers.length > 8 &&
    html`<div class="buttons filters" role="group" aria-label="Show">
      ${FILTERS.map(
        ([value, words]) => html`<button type="button" class="chip" aria-pressed=${filter === value} onClick=${() => setFilter(value)}>${words}</button>`,
      )}
    </div>`}
    ${kept.length === 0 && html`<p class="empty">None of the lines is so.</p>`}
    <ol class="cells" style=${{ "--shape": shape }}>
      ${kept.slice(0, drawn).map((number) => html`<${Entry} key=${number} line=${watched.lines.get(number)} mixed=${mixed} />`)}
    </ol>
    ${kept.length > most &&
    html`<button type="button" onClick=${() => setMost(most + SHOWN_AT_ONCE)}>
      Show ${count(Math.min(SHOWN_AT_ONCE, kept.length - most), "more", "more")} of ${kept.length.toLocaleString()}
    </button>`}
  </section>`;
}

// A number that grows to another in steps, each in a frame of its own: hundreds of cells at once would stop the page.
function useGrowing(whole) {
  const [drawn, setDrawn] = useState(DRAWN_AT_ONCE);
  useEffect(() => {
    if (drawn >= whole) return undefined;
    const timer = setTimeout(() => setDrawn(drawn + DRAWN_AT_ONCE), 16);
    return () => clearTimeout(timer);
  }, [drawn, whole]);
  return Math.min(drawn, whole);
}

// The numbers of the lines that a filter keeps; only with one do all of them have to be looked at with each change.
function useKept(watched, numbers, filter) {
  const [, lookAgain] = useState(0);
  useEffect(() => (filter ? watched.tally.subscribe(() => lookAgain((times) => times + 1)) : undefined), [watched, filter]);
  if (!filter) return numbers;
  return numbers.filter((number) => {
    const { state } = watched.lines.get(number).value;
    return filter === "open" ? state === "queued" || state === "in_progress" : state === filter;
  });
}

function modelsOf(watched, numbers) {
  const models = numbers.map((number) => watched.lines.get(number).value.generation?.requested_model);
  return new Set(models.filter(Boolean));
}

// mixed: whether lines differ in their model.
function Entry({ line, mixed }) {
  const shown = useStore(line);
  const { generation } = shown;
  const facts = [shown.line, mixed && generation?.requested_model, seedOf(generation)].filter(Boolean).join(" · ");
  return html`<li data-line=${shown.line}>
    <${BatchCell} line=${line} />
    <p class="cell-prompt" title=${lineName(shown)}>${lineName(shown)}</p>
    <p class="hint" title=${facts}>${facts}</p>
  </li>`;
}

function seedOf(generation) {
  const seed = generation?.result?.seed ?? generation?.request.seed;
  return seed === undefined || seed === null ? null : `seed ${seed}`;
}
