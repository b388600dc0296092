// A value that several parts of the page show.
import { useLayoutEffect, useReducer } from "./html.js";

export class Store {
  #value;
  #hears = new Set();

  constructor(value) {
    this.#value = value;
  }

  get value() {
    return this.#value;
  }

  set value(value) {
    if (Object.is(value, this.#value)) return;
    this.#value = value;
    for (const hear of [...this.#hears]) hear(value);
  }

  // Calls `hear` with each new value; returns what ends that.
  subscribe(hear) {
    this.#hears.add(hear);
    return () => this.#hears.delete(hear);
  }
}

// The value of a store, for a component that is drawn again when it changes.
export function useStore(store) {
  const [, drawAgain] = useReducer((count) => count + 1, 0);
  const drawn = store.value;
  useLayoutEffect(() => {
    const end = store.subscribe(drawAgain);
    // It may have changed since it was drawn, before anybody listened.
    if (!Object.is(drawn, store.value)) drawAgain();
    return end;
  }, [store]);
  return drawn;
}

// A store whose value this tab remembers through a reload.
export function remembered(name, initial) {
  let value = initial;
  try {
    value = JSON.parse(sessionStorage.getItem(name)) ?? initial;
  } catch {
    // Not ours, or none: begin anew.
  }
  const store = new Store(value);
  store.subscribe((next) => {
    try {
      sessionStorage.setItem(name, JSON.stringify(next));
    } catch {
      // Full or forbidden: it is forgotten with the page.
    }
  });
  return store;
}
