// At the bottom of the window: what was chosen to be compared, and the way there.
import { FEWEST, chosen } from "../chosen.js";
import { html } from "../html.js";
import { linkTo } from "../router.js";
import { useStore } from "../store.js";

export function ChoiceBar() {
  const ids = useStore(chosen);
  if (!ids.length) return null;
  const enough = ids.length >= FEWEST;
  return html`<div class="choice-bar" role="region" aria-label="Chosen to be compared">
    <p role="status">${enough ? `${ids.length} chosen` : "1 chosen: choose one more"}</p>
    ${enough && html`<a class="button primary" href=${linkTo("compare", "", { ids: ids.join(",") })}>Compare ${ids.length}</a>`}
    <button
      type="button"
      class="quiet"
      onClick=${() => {
        chosen.value = [];
      }}
    >
      Clear
    </button>
  </div>`;
}
