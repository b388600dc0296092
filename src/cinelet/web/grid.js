// How the gallery is laid out: as many columns as fit, and rows of one height, so that what is far away needs no elements.
import { Store } from "./store.js";

// Of cards, in pixels: the least width, and what is between them.
const LEAST = 250;
const LEAST_ON_A_PHONE = 150;
const GAP = 16;
// Of a chunk. What comes near is drawn chunk by chunk: the fewer rows, the shorter each time, and the more chunks.
const ROWS = 2;

// columns; rowHeight: in pixels with the gap below it, 0 until a row was measured.
export const grid = new Store({ columns: 4, rowHeight: 0 });

// Takes the width that there is; returns whether there are more or fewer columns now.
export function fit(width) {
  const least = width < 600 ? LEAST_ON_A_PHONE : LEAST;
  const columns = Math.max(1, Math.floor((width + GAP) / (least + GAP)));
  if (columns === grid.value.columns) return false;
  grid.value = { ...grid.value, columns };
  return true;
}

// Takes the height of rows that are shown.
export function measure(height, rows) {
  // Of what is being taken away.
  if (!height) return;
  const rowHeight = (height + GAP) / rows;
  if (Math.abs(rowHeight - grid.value.rowHeight) > 0.25) grid.value = { ...grid.value, rowHeight };
}

export function chunkSize() {
  return grid.value.columns * ROWS;
}

export function rowsOf(count) {
  return Math.ceil(count / grid.value.columns);
}

// The height of so many cards in rows, without the gap below the last.
export function heightOf(count) {
  return Math.max(0, rowsOf(count) * grid.value.rowHeight - GAP);
}

// Where the row of a card begins, from the top of the first row.
export function topOf(index) {
  return Math.floor(index / grid.value.columns) * grid.value.rowHeight;
}

// The first card of the row that begins at or before a distance from the top of the first row.
export function cardAt(top) {
  const { columns, rowHeight } = grid.value;
  return rowHeight ? Math.max(0, Math.floor(top / rowHeight)) * columns : 0;
}
