// What was chosen to be compared.
import { onChange } from "./live.js";
import { Store } from "./store.js";

export const FEWEST = 2;
export const MOST = 4;

export const chosen = new Store([]);

export function choose(id, whether) {
  const others = chosen.value.filter((one) => one !== id);
  if (whether && others.length === MOST) return;
  if (whether !== chosen.value.includes(id)) chosen.value = whether ? [...others, id] : others;
}

onChange((id, generation) => {
  if (generation === null) choose(id, false);
});
