// What was asked and what was measured, side by side; where they differ, it is said.
import { html, useMemo, useState } from "../html.js";
import { differences } from "../differences.js";

// The least width of a column.
const LEAST_REM = 6.5;

// letters: what each generation is called.
export function DifferenceTable({ letters, generations }) {
  const [only, setOnly] = useState(false);
  const groups = useMemo(() => differences(generations), generations);
  const count = groups.flatMap(({ rows }) => rows).filter(({ differs }) => differs).length;
  return html`<section class="card differences" aria-label="Parameters and facts">
    <div class="differences-top">
      <h2>${count ? `${count} ${count === 1 ? "difference" : "differences"}` : "No differences"}</h2>
      <label class="check"><input type="checkbox" checked=${only} onChange=${(event) => setOnly(event.target.checked)} />Differences only</label>
    </div>
    <div class="differences-scroll" tabindex="0" role="region" aria-label="Table of parameters and facts">
      <table style=${{ minWidth: `${LEAST_REM * (letters.length + 1)}rem` }}>
        <thead>
          <tr>
            <th scope="col"><span class="unseen">What</span></th>
            ${letters.map((letter) => html`<th scope="col" key=${letter}><span class="letter">${letter}</span></th>`)}
          </tr>
        </thead>
        ${groups.map(({ title, rows }) => html`<${Group} key=${title} title=${title} rows=${only ? rows.filter(({ differs }) => differs) : rows} span=${letters.length + 1} />`)}
      </table>
    </div>
    <p class="hint"><span aria-hidden="true">≠</span> marks what is not the same in all.</p>
  </section>`;
}

function Group({ title, rows, span }) {
  if (!rows.length) return null;
  return html`<tbody>
    <tr><th colspan=${span} scope="rowgroup" class="group">${title}</th></tr>
    ${rows.map(
      ({ name, values, differs }) => html`<tr key=${name} class=${differs ? "differs" : ""}>
        <th scope="row">
          ${name}${differs && html`<span class="sign" title="Not the same in all"><span aria-hidden="true">≠</span><span class="unseen">, differs</span></span>`}
        </th>
        ${values.map((value) => html`<td>${value ?? html`<span class="muted" aria-label="none">–</span>`}</td>`)}
      </tr>`,
    )}
  </tbody>`;
}
