// What workers have loaded, and what they are told to load and to forget.
import { get, post } from "../api.js";
import { useBusy } from "../busy.js";
import { bytes } from "../format.js";
import { html, useState } from "../html.js";
import { useModels } from "../models.js";
import { toast } from "../toasts.js";
import { Field } from "./field.js";

const LOOK_MILLISECONDS = 500;
const REFERENCES = "models-to-load";

// Has every worker for local models do something, and waits until all have; raises an error where one could not.
async function order(action, model) {
  let given = await post("/v1/admin/models/orders", { action, model });
  while (given.state === "waiting" || given.state === "running") {
    await new Promise((done) => setTimeout(done, LOOK_MILLISECONDS));
    given = await get(`/v1/admin/models/orders/${encodeURIComponent(given.id)}`);
  }
  const failed = given.workers.filter(({ error }) => error);
  if (failed.length) throw new Error(failed.map(({ worker, error }) => `${place(worker)}: ${error.message}`).join("; "));
  return given;
}

function place(worker) {
  const [host, pid] = worker.split(":");
  return `${host}, process ${pid}`;
}

// onChanged: called when other models may be loaded.
export function Loaded({ models, onChanged }) {
  if (!models.length) return html`<span class="muted">nothing</span>`;
  return html`<ul class="bare">
    ${models.map((model) => html`<${LoadedModel} key=${`${model.model} ${model.revision}`} ...${model} onChanged=${onChanged} />`)}
  </ul>`;
}

function LoadedModel({ model, revision, bytes: size, estimated_bytes: estimated, device, placement, onChanged }) {
  const [busy, doing] = useBusy();
  const unload = () =>
    doing(async () => {
      await order("unload", model);
      toast(`${model} is unloaded`);
      await onChanged();
    });
  const sizes = [size !== null && bytes(size), estimated !== null && `(estimated ${bytes(estimated)})`].filter(Boolean);
  return html`<li>
    ${model} ${revision ? html`<code title=${revision}>${revision.slice(0, 7)}</code> ` : ""}<span class="hint">${[sizes.join(" "), device].filter(Boolean).join(", ")}</span>
    ${placement && html`<div class="hint">${placement}</div>`}
    <button type="button" disabled=${busy} onClick=${unload} aria-label="Unload ${model}" title="On every worker; one that uses it ends its run first">
      ${busy ? "Unloading…" : "Unload"}
    </button>
  </li>`;
}

export function LoadForm({ onChanged }) {
  const [busy, doing] = useBusy();
  const [text, setText] = useState("");
  const models = useModels();
  const here = (models ?? []).filter(({ where }) => where !== "remote");
  function load(event) {
    event.preventDefault();
    const model = text.trim();
    if (!model) return;
    doing(async () => {
      const { workers } = await order("load", model);
      const where = workers.map(({ worker, loaded }) => `${place(worker)}, on ${loaded.device}`).join("; ");
      toast(`${model} is loaded: ${where}`);
      setText("");
      await onChanged();
    });
  }
  return html`<form class="load-model" onSubmit=${load}>
    <${Field}
      label="Load a model ahead"
      hint="On every worker for local models, before it is asked for. One that is not here is downloaded first: org/name"
      input=${(attributes) => html`<input
        ...${attributes}
        value=${text}
        list=${REFERENCES}
        maxlength="500"
        spellcheck="false"
        autocapitalize="off"
        autocomplete="off"
        onInput=${(event) => setText(event.target.value)}
      />`}
    />
    <datalist id=${REFERENCES}>${here.map(({ id }) => html`<option value=${id}></option>`)}</datalist>
    <button type="submit" disabled=${busy || !text.trim()}>${busy ? "Loading…" : "Load"}</button>
  </form>`;
}
