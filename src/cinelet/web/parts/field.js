// A field of a form: its name, what it holds, what it is for, and what is wrong with it.
import { html, useId } from "../html.js";

// input: a function of {id, "aria-describedby", "aria-invalid"}. value: shown at the right of the name.
export function Field({ label, hint, error, value, input, disabledBecause }) {
  const id = useId();
  const why = disabledBecause ?? hint;
  const about = [why && `${id}-hint`, error && `${id}-error`].filter(Boolean).join(" ") || undefined;
  return html`<div class="field">
    <div class="label-line">
      <label for=${id}>${label}</label>
      ${value !== undefined && html`<output for=${id}>${value}</output>`}
    </div>
    ${input({ id, "aria-describedby": about, "aria-invalid": error ? "true" : undefined, disabled: Boolean(disabledBecause) })}
    ${why && html`<p class="hint" id=${`${id}-hint`}>${why}</p>`}
    ${error && html`<p class="error" id=${`${id}-error`}>${error}</p>`}
  </div>`;
}
