// What the form of a batch holds: it lives through a reload, and through a look at another view.
import { remembered } from "../store.js";

const EMPTY = { name: "", matrix: false, text: "", file: null, values: {}, model: null, models: null, added: [], seeds: "1, 2" };

// values: shared by all lines. model: of a list; models: of a matrix, null until some are chosen; added: to
// choose from. file: {name, lines, unknown} of lines that say more
// than their prompt.
export const batchDraft = remembered("cinelet.batch", EMPTY);

export function change(changes) {
  batchDraft.value = { ...batchDraft.value, ...changes };
}

export function setShared(name, value) {
  const values = { ...batchDraft.value.values };
  if (value === undefined || value === null || value === "" || Number.isNaN(value)) delete values[name];
  else values[name] = value;
  change({ values });
}

export function clear() {
  batchDraft.value = EMPTY;
}
