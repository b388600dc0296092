// Which generations the gallery shows: by state, by model, by words of the prompt.
import { html, useEffect, useRef, useState } from "../html.js";
import { known } from "../live.js";
import { useModels } from "../models.js";
import { shelf } from "../shelf.js";
import { useStore } from "../store.js";

const PAUSE = 300;
const STATES = [
  ["", "Every state"],
  ["completed", "Done"],
  ["in_progress", "In progress"],
  ["queued", "Waiting"],
  ["failed", "Failed"],
  ["cancelled", "Cancelled"],
];

// onFilter: is given {state, model, text}.
export function GalleryFilter({ filter, onFilter }) {
  const models = useModelNames(filter.model);
  return html`<search class="gallery-filter">
    <${Words} text=${filter.text} onText=${(text) => onFilter({ ...filter, text })} />
    <select aria-label="State" value=${filter.state} onChange=${(event) => onFilter({ ...filter, state: event.target.value })}>
      ${STATES.map(([state, name]) => html`<option value=${state}>${name}</option>`)}
    </select>
    <select aria-label="Model" value=${filter.model} onChange=${(event) => onFilter({ ...filter, model: event.target.value })}>
      <option value="">Every model</option>
      ${models.map((model) => html`<option value=${model}>${model}</option>`)}
    </select>
  </search>`;
}

function Words({ text, onText }) {
  const [typed, setTyped] = useState(text);
  const last = useRef(text);
  useEffect(() => {
    // Changed by somebody else: a button, or the address.
    if (text !== last.current) setTyped(text);
    last.current = text;
  }, [text]);
  function give(words) {
    if (words.trim() === last.current) return;
    last.current = words.trim();
    onText(words.trim());
  }
  useEffect(() => {
    const timer = setTimeout(() => give(typed), PAUSE);
    return () => clearTimeout(timer);
  }, [typed]);
  return html`<input
    type="search"
    aria-label="Words of the prompt"
    placeholder="Words of the prompt"
    maxlength="200"
    autocomplete="off"
    value=${typed}
    onInput=${(event) => setTyped(event.target.value)}
    onKeyDown=${(event) => event.key === "Enter" && give(event.target.value)}
  />`;
}

// What can be filtered by: the models of the list, those of what is shown, and the one that is chosen.
function useModelNames(chosen) {
  const models = useModels();
  const { ids } = useStore(shelf);
  const [made, setMade] = useState(new Set());
  const looked = useRef(0);
  useEffect(() => {
    if (ids.length < looked.current) looked.current = 0;
    const names = ids.slice(looked.current).map((id) => known(id)).filter(Boolean).map(({ model, requested_model: requested }) => model ?? requested);
    looked.current = ids.length;
    if (names.some((name) => !made.has(name))) setMade(new Set([...made, ...names]));
  }, [ids]);
  const listed = (models ?? []).map(({ id }) => id);
  return [...new Set([...listed, ...[...made].sort(), ...(chosen ? [chosen] : [])])];
}
