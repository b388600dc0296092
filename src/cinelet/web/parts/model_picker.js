// Which model makes the video: those that are known here, or any other by its reference.
import { html, useEffect, useState } from "../html.js";
import { seconds } from "../format.js";
import { Field } from "./field.js";

const OTHER = " other";
const GROUPS = [
  ["here", "On this machine"],
  ["either", "Here or at a provider"],
  ["remote", "At a provider"],
];

export function ModelPicker({ models, model, onModel, facts, error, fieldError }) {
  const listed = models?.some(({ id }) => id === model);
  const [other, setOther] = useState(false);
  const free = other || (models && model && !listed);
  return html`<div class="field model-picker">
    <${Field}
      label="Model"
      error=${free ? undefined : fieldError}
      input=${(attributes) => html`<select
        ...${attributes}
        value=${free ? OTHER : model}
        onChange=${(event) => {
          const chosen = event.target.value;
          setOther(chosen === OTHER);
          if (chosen !== OTHER) onModel(chosen);
        }}
      >
        ${GROUPS.map(([where, name]) => {
          const group = (models ?? []).filter((one) => (one.where ?? "here") === where);
          if (!group.length) return null;
          return html`<optgroup label=${name}>
            ${group.map(({ id }) => html`<option value=${id}>${id}</option>`)}
          </optgroup>`;
        })}
        <option value=${OTHER}>Another model…</option>
      </select>`}
    />
    ${free && html`<${FreeModel} model=${model} onModel=${onModel} error=${fieldError} />`}
    <${About} facts=${facts} error=${error} model=${model} />
  </div>`;
}

function FreeModel({ model, onModel, error }) {
  const [text, setText] = useState(model ?? "");
  useEffect(() => {
    const wanted = text.trim();
    if (!wanted || wanted === model) return undefined;
    const timer = setTimeout(() => onModel(wanted), 600);
    return () => clearTimeout(timer);
  }, [text]);
  return html`<${Field}
    label="Model reference"
    hint="Any on the Hugging Face Hub: org/name. Or hf:org/name:provider, local:./folder, https://endpoint…"
    error=${error}
    input=${(attributes) => html`<input
      ...${attributes}
      value=${text}
      maxlength="500"
      spellcheck="false"
      autocapitalize="off"
      autocomplete="off"
      onInput=${(event) => setText(event.target.value)}
      onChange=${(event) => onModel(event.target.value.trim())}
    />`}
  />`;
}

function About({ facts, error, model }) {
  if (error) return html`<p class="error" role="alert">${error.message}</p>`;
  if (!facts) return model && html`<p class="hint" role="status">Asking what ${model} can do…</p>`;
  const loaded = facts.loaded?.length ? ", loaded" : "";
  const longest = longestSeconds(facts);
  const sides = facts.default_size ? `, ${facts.default_size.join(" × ")}` : "";
  return html`<div class="hint">
    ${facts.description && html`<p>${facts.description}</p>`}
    <p>Runs on ${facts.runs_on}${loaded}${sides}${longest ? `, up to ${seconds(longest)}` : ""}.</p>
  </div>`;
}

// How long a video the model makes as it is: by its frames and its own rate; null where nobody knows.
export function longestSeconds(facts) {
  const frames = facts?.frame_rule?.maximum;
  return frames && facts.native_fps ? Math.floor((frames / facts.native_fps) * 2) / 2 : null;
}
