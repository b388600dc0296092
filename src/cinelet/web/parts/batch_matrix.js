// A batch of prompts × seeds × models as a table: a row a prompt, a column a model and seed.
import { useShape } from "../batch/shape.js";
import { count } from "../format.js";
import { html, useState } from "../html.js";
import { useStore } from "../store.js";
import { BatchCell, lineName } from "./batch_cell.js";

const CELLS_AT_ONCE = 600;

export function BatchMatrix({ watched, matrix }) {
  const { models, seeds, width } = matrix;
  const numbers = useStore(watched.numbers);
  const shape = useShape(watched);
  const rows = numbers.length / width;
  const step = Math.max(1, Math.floor(CELLS_AT_ONCE / width));
  const [most, setMost] = useState(step);
  const columns = models.flatMap((model) => (seeds.length ? seeds : [null]).map((seed) => ({ model, seed })));
  return html`<section aria-label="Lines">
    <div class="table-scroll matrix-scroll" tabindex="0" role="region" aria-label="Each prompt with each seed and model">
      <table class="matrix" style=${{ "--shape": shape }}>
        <caption class="unseen">A row a prompt, a column a model and seed</caption>
        <thead>
          ${models.length > 1 || !seeds.length
            ? html`<tr>
                <th scope="col" rowspan=${seeds.length ? 2 : 1}>Prompt</th>
                ${models.map((model) => html`<th scope=${seeds.length ? "colgroup" : "col"} colspan=${Math.max(1, seeds.length)}>${model}</th>`)}
              </tr>`
            : null}
          ${seeds.length
            ? html`<tr>
                ${models.length === 1 && html`<th scope="col">Prompt</th>`}
                ${columns.map(({ seed }) => html`<th scope="col">seed ${seed}</th>`)}
              </tr>`
            : null}
        </thead>
        <tbody>
          ${Array.from(
            { length: Math.min(rows, most) },
            (_, row) => html`<${Row} key=${row} watched=${watched} first=${numbers[row * width]} columns=${columns} />`,
          )}
        </tbody>
      </table>
    </div>
    ${rows > most && html`<button type="button" onClick=${() => setMost(most + step)}>Show ${count(Math.min(step, rows - most), "more row")}</button>`}
  </section>`;
}

function Row({ watched, first, columns }) {
  const lines = columns.map((_, index) => watched.lines.get(first + index));
  // Any line of the row that could be begun says its prompt whole; the others only how it begins.
  const start = useStore(lines[0]);
  const name = lineName(lines.map((line) => line.value).find(({ generation }) => generation) ?? start);
  const several = new Set(columns.map(({ model }) => model)).size > 1;
  return html`<tr>
    <th scope="row"><span title=${name}>${name}</span></th>
    ${columns.map(({ model, seed }, index) => {
      const label = [name, several && model, seed !== null && `seed ${seed}`].filter(Boolean).join(", ");
      return html`<td key=${index}><${BatchCell} line=${lines[index]} label=${label} /></td>`;
    })}
  </tr>`;
}
