// Choosing what is compared, among the latest videos.
import { get } from "../api.js";
import { FEWEST, MOST } from "../chosen.js";
import { html, useEffect, useState } from "../html.js";
import { epoch, known, remember } from "../live.js";
import { useMedia } from "../media.js";
import { linkTo } from "../router.js";
import { useStore } from "../store.js";
import { trashed } from "../trash.js";
import { promptOf } from "./generation_panel.js";
import { When } from "./when.js";

const SHOWN = 24;

// ids: those that are chosen already. onChosen: is given two to four.
export function ComparePicker({ ids, onChosen }) {
  const [picked, setPicked] = useState(ids.filter((id) => known(id)));
  const { latest, error, again } = useLatest();
  const gone = useStore(trashed);
  if (error) {
    return html`<div class="empty" role="alert">
      <h2>The videos cannot be shown</h2>
      <p>${error.message}</p>
      <button type="button" class="primary" onClick=${again}>Try again</button>
    </div>`;
  }
  if (!latest) return html`<p class="empty" role="status">Looking for videos…</p>`;
  const offered = [...new Set([...picked, ...latest])].filter((id) => known(id) && !gone.has(id));
  if (offered.length < FEWEST) {
    return html`<div class="empty">
      <h2>There is nothing to compare yet</h2>
      <p>Make at least two videos: the same prompt with another seed, for example.</p>
      <p><a class="button primary" href=${linkTo("make")}>Make a video</a></p>
    </div>`;
  }
  const count = picked.filter((id) => offered.includes(id)).length;
  const pick = (id, whether) => setPicked(whether ? [...picked, id] : picked.filter((one) => one !== id));
  return html`<form
    class="picker"
    onSubmit=${(event) => {
      event.preventDefault();
      onChosen(picked.filter((id) => offered.includes(id)));
    }}
  >
    <fieldset>
      <legend>Choose two to four of the latest</legend>
      <div class="picks">
        ${offered.map((id) => html`<${Pick} key=${id} generation=${known(id)} checked=${picked.includes(id)} full=${count >= MOST} onPick=${pick} />`)}
      </div>
    </fieldset>
    <p class="hint">Older ones: choose them in the <a href=${linkTo("gallery", "", { state: "completed" })}>gallery</a>.</p>
    <div class="picker-end">
      <button type="submit" class="primary" disabled=${count < FEWEST}>${count < FEWEST ? "Compare" : `Compare ${count}`}</button>
      <span class="muted" role="status">${count < FEWEST ? `Choose ${FEWEST - count} more` : `${count} chosen`}</span>
    </div>
  </form>`;
}

function Pick({ generation, checked, full, onPick }) {
  const url = useMedia(generation.links.thumbnail);
  return html`<label class="pick">
    <span class="pick-screen">${url && html`<img src=${url} alt="" loading="lazy" decoding="async" />`}</span>
    <span class="pick-name">
      <input
        type="checkbox"
        checked=${checked}
        disabled=${full && !checked}
        onChange=${(event) => onPick(generation.id, event.target.checked)}
      />
      <span class="pick-words">${promptOf(generation) || "Without a prompt"}</span>
    </span>
    <span class="pick-facts muted"><${When} at=${generation.created_at} />, seed ${generation.result?.seed}</span>
  </label>`;
}

function useLatest() {
  const [state, setState] = useState({ latest: null, error: null });
  const [asked, ask] = useState(0);
  const now = useStore(epoch);
  useEffect(() => {
    const reading = new AbortController();
    get(`/v1/generations?state=completed&limit=${SHOWN}`, { signal: reading.signal })
      .then(({ data }) => {
        remember(...data);
        setState({ latest: data.map(({ id }) => id), error: null });
      })
      .catch((error) => error.name !== "AbortError" && setState(({ latest }) => ({ latest, error: latest ? null : error })));
    return () => reading.abort();
  }, [now, asked]);
  return { ...state, again: () => ask(asked + 1) };
}
