// Which of several models makes the video: how they are ordered, and what they may cost and take.
import { html } from "../html.js";
import { Field } from "./field.js";

export const CHOICE_FIELDS = ["prefer", "max_cost", "max_seconds"];
const STRATEGIES = {
  "": "as configured",
  ordered: "in the order they are named",
  fastest: "the fastest",
  most_reliable: "the most reliable",
  cheapest: "the cheapest",
  balanced: "the best balance of time and cost",
};

export function ChoiceFields({ values, setValue, errors }) {
  const given = CHOICE_FIELDS.some((name) => values[name] !== undefined || errors[name]);
  const number = (event) => (event.target.value === "" ? undefined : event.target.valueAsNumber);
  return html`<details class="choice" open=${given}>
    <summary>If several models can do it</summary>
    <div class="fields">
      <${Field}
        label="Prefer"
        error=${errors.prefer}
        hint="By how they have performed here."
        input=${(attributes) => html`<select
          ...${attributes}
          value=${values.prefer ?? ""}
          onChange=${(event) => setValue("prefer", event.target.value)}
        >
          ${Object.entries(STRATEGIES).map(([value, words]) => html`<option value=${value}>${words}</option>`)}
        </select>`}
      />
      <${Most} name="max_cost" label="Most that it may cost" step="any" ...${{ values, setValue, errors, number }} />
      <${Most} name="max_seconds" label="Most seconds that it may take" step="1" ...${{ values, setValue, errors, number }} />
    </div>
  </details>`;
}

function Most({ name, label, step, values, setValue, errors, number }) {
  return html`<${Field}
    label=${label}
    error=${errors[name]}
    input=${(attributes) => html`<input
      ...${attributes}
      type="number"
      min="0"
      step=${step}
      placeholder="no limit"
      value=${values[name] ?? ""}
      onInput=${(event) => setValue(name, number(event))}
    />`}
  />`;
}
