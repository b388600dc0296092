// Light or dark: as the system has it, until somebody chooses.
import { html } from "./html.js";
import { Store, useStore } from "./store.js";

const NAME = "cinelet.theme";
const NEXT = { system: "light", light: "dark", dark: "system" };
const SIGNS = { system: "◐", light: "☀", dark: "☾" };
const theme = new Store(localStorage.getItem(NAME) in NEXT ? localStorage.getItem(NAME) : "system");

function apply(name) {
  document.documentElement.dataset.theme = name;
}

apply(theme.value);

function choose(name) {
  localStorage.setItem(NAME, name);
  theme.value = name;
  apply(name);
}

export function ThemeButton() {
  const name = useStore(theme);
  const label = `Colours: ${name}. Change to ${NEXT[name]}`;
  return html`<button type="button" class="quiet icon" aria-label=${label} title=${label} onClick=${() => choose(NEXT[name])}>
    ${SIGNS[name]}
  </button>`;
}
