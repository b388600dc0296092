// A table of facts; on a phone each row is a card, with the names of its cells.
import { html } from "../html.js";

// columns: {name, cell, number}: cell: a function of a row; the first one says what the row is about. empty: what to do
// where there is no row. Roles are said, because a table that is laid out otherwise is none for a screen reader.
export function DataTable({ label, columns, rows, rowKey, empty }) {
  if (!rows.length) return html`<div class="nothing">${empty}</div>`;
  return html`<div class="table-scroll" tabindex="0" role="region" aria-label=${label}>
    <table class="plain cards" role="table" aria-label=${label}>
      <thead role="rowgroup">
        <tr role="row">
          ${columns.map(({ name, number }) => html`<th role="columnheader" scope="col" class=${number ? "number" : ""}>${name}</th>`)}
        </tr>
      </thead>
      <tbody role="rowgroup">
        ${rows.map(
          (row) => html`<tr role="row" key=${rowKey(row)}>
            ${columns.map(({ name, cell, number }, index) =>
              index === 0
                ? html`<th role="rowheader" scope="row">${cell(row)}</th>`
                : html`<td role="cell" data-name=${name} class=${number ? "number" : ""}><div>${cell(row)}</div></td>`,
            )}
          </tr>`,
        )}
      </tbody>
    </table>
  </div>`;
}

// How much of something is taken, as a bar with its numbers. plain: where much of it is nothing to worry about.
export function Share({ label, taken, whole, words, plain = false }) {
  const part = whole ? Math.min(1, taken / whole) : 0;
  const level = plain ? "" : part > 0.9 ? "high" : part > 0.7 ? "much" : "";
  return html`<div class="share">
    <span>${words}</span>
    <span class="bar ${level}" role="meter" aria-label=${label} aria-valuemin="0" aria-valuemax=${whole} aria-valuenow=${taken} aria-valuetext=${words}>
      <span style=${{ width: `${part * 100}%` }}></span>
    </span>
  </div>`;
}
