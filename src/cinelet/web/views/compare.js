// Two to four videos in step, and in what they differ.
import { FEWEST, MOST, chosen } from "../chosen.js";
import { html, useEffect, useMemo, useRef, useState } from "../html.js";
import { useGeneration } from "../live.js";
import { Compared } from "../parts/compared.js";
import { ComparePicker } from "../parts/compare_picker.js";
import { DifferenceTable } from "../parts/difference_table.js";
import { UnisonControls } from "../parts/unison_controls.js";
import { replaceQuery } from "../router.js";
import { useStore } from "../store.js";
import { trashed } from "../trash.js";
import { Unison } from "../unison.js";

const LETTERS = "ABCD";
const FPS = 24;

export function Compare({ query }) {
  const ids = [...new Set((query.get("ids") ?? "").split(",").filter(Boolean))].slice(0, MOST);
  const [choosing, setChoosing] = useState(false);
  const heading = useRef();
  const show = (wanted) => {
    setChoosing(false);
    chosen.value = wanted;
    replaceQuery("compare", { ids: wanted.join(",") });
    heading.current.focus();
  };
  const picks = choosing || ids.length < FEWEST;
  return html`<section class="compare">
    <div class="compare-top">
      <h1 tabindex="-1" ref=${heading}>Compare</h1>
      ${!picks && html`<button type="button" onClick=${() => setChoosing(true)}>Choose others</button>`}
      ${choosing && ids.length >= FEWEST && html`<button type="button" onClick=${() => setChoosing(false)}>Back</button>`}
    </div>
    ${picks
      ? html`<${ComparePicker} ids=${ids} onChosen=${show} />`
      : html`<${Together} key=${ids.join()} ids=${ids} onRemove=${(id) => show(ids.filter((one) => one !== id))} />`}
  </section>`;
}

function Together({ ids, onRemove }) {
  // As many as there may be, so that the same is called each time; the others are of no generation.
  const slots = [...LETTERS].map((_, index) => useGeneration(ids[index]));
  const hidden = useStore(trashed);
  const all = ids.map((id, index) => {
    const { generation, error } = slots[index];
    const gone = error?.status === 404 || generation === null || hidden.has(id);
    return { id, letter: LETTERS[index], generation, error, gone };
  });
  const unison = useMemo(() => new Unison(), []);
  useEffect(() => {
    if (!matchMedia("(prefers-reduced-motion: reduce)").matches) unison.play();
    return () => unison.close();
  }, [unison]);
  const results = all.filter(({ gone }) => !gone).map(({ generation }) => generation?.result).filter(Boolean);
  const fps = Math.max(0, ...results.map((result) => result.fps)) || FPS;
  return html`
    <div class="compared-all" data-count=${ids.length}>
      ${all.map(({ id, ...one }) => html`<${Compared} key=${id} ...${one} unison=${unison} onRemove=${() => onRemove(id)} />`)}
    </div>
    ${results.length > 0 && html`<${UnisonControls} unison=${unison} fps=${fps} />`}
    <${DifferenceTable} letters=${all.map(({ letter }) => letter)} generations=${all.map(({ generation, gone }) => (gone ? null : (generation ?? null)))} />
  `;
}
