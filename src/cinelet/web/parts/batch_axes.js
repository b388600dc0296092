// What each prompt of a matrix is combined with: seeds and models.
import { change } from "../batch/draft.js";
import { MAX_MODELS } from "../batch/plan.js";
import { html, useState } from "../html.js";
import { Field } from "./field.js";
import { randomSeed } from "./parameters.js";

const SEEDS_ROLLED = 3;

// known: a map from a model to {facts, error}.
export function BatchAxes({ draft, models, usual, known, seedsError }) {
  const chosen = draft.models ?? [usual].filter(Boolean);
  const listed = (models ?? []).map(({ id }) => id);
  const all = [...new Set([...listed, ...draft.added, ...chosen])];
  const choose = (model, wanted) =>
    change({ models: [...new Set([...all, model])].filter((one) => (one === model ? wanted : chosen.includes(one))) });
  const add = (model) => {
    if (!all.includes(model)) change({ added: [...draft.added, model] });
    choose(model, true);
  };
  return html`<div class="axes">
    <${Field}
      label="Seeds"
      hint="Numbers and ranges: 1, 2, 10-13. Without any, each video has one of its own."
      error=${seedsError}
      input=${(attributes) => html`<div class="row">
        <input
          ...${attributes}
          inputmode="text"
          spellcheck="false"
          autocomplete="off"
          value=${draft.seeds}
          onInput=${(event) => change({ seeds: event.target.value })}
        />
        <button
          type="button"
          class="icon"
          aria-label="Roll ${SEEDS_ROLLED} seeds"
          title="Roll ${SEEDS_ROLLED} seeds"
          onClick=${() => change({ seeds: Array.from({ length: SEEDS_ROLLED }, randomSeed).join(", ") })}
        >
          ⚄
        </button>
      </div>`}
    />
    <fieldset class="models-chosen">
      <legend>Models</legend>
      ${all.map((model) => {
        const on = chosen.includes(model);
        const error = on && known.get(model)?.error;
        return html`<div key=${model}>
          <label class="check">
            <input
              type="checkbox"
              checked=${on}
              disabled=${!on && chosen.length >= MAX_MODELS}
              onChange=${(event) => choose(model, event.target.checked)}
            />
            <span>${model}</span>
          </label>
          ${error && html`<p class="error" role="alert">${error.message}</p>`}
        </div>`;
      })}
      ${chosen.length < MAX_MODELS && html`<${OtherModel} onModel=${add} />`}
    </fieldset>
  </div>`;
}

function OtherModel({ onModel }) {
  const [text, setText] = useState("");
  function add() {
    const model = text.trim();
    if (!model) return;
    onModel(model);
    setText("");
  }
  return html`<div class="row other-model">
    <input
      aria-label="Another model, by its reference"
      placeholder="Another model: org/name"
      maxlength="500"
      spellcheck="false"
      autocapitalize="off"
      autocomplete="off"
      value=${text}
      onInput=${(event) => setText(event.target.value)}
      onKeyDown=${(event) => {
        if (event.key !== "Enter" || event.ctrlKey || event.metaKey) return;
        event.preventDefault();
        add();
      }}
    />
    <button type="button" onClick=${add} disabled=${!text.trim()}>Add</button>
  </div>`;
}
