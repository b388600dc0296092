// Which view is shown: `#/name/id?query`. The address says all of it, so a reload and a bookmark come back to it.
import { Store, useStore } from "./store.js";

function parsed() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [name, id = ""] = path.split("/");
  let decoded = id;
  try {
    decoded = decodeURIComponent(id);
  } catch {
    // Shown as it came: nothing will be found by it.
  }
  return { name: name || "make", id: decoded, query: new URLSearchParams(query) };
}

const route = new Store(parsed());
addEventListener("hashchange", () => {
  route.value = parsed();
});

export function useRoute() {
  return useStore(route);
}

export function linkTo(name, id = "", query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const rest = given.length ? `?${new URLSearchParams(given)}` : "";
  return `#/${name}${id ? `/${encodeURIComponent(id)}` : ""}${rest}`;
}

export function goTo(...place) {
  location.hash = linkTo(...place);
}

// Changes the address without a step in the history: for filters.
export function replaceQuery(name, query) {
  history.replaceState(null, "", linkTo(name, "", query));
  route.value = parsed();
}
