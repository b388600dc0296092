// The form of a batch: which prompts, by which models, with what in common; and what that will be before it is sent.
import { batchDraft, change, clear, setShared } from "../batch/draft.js";
import { usePlanEstimate } from "../batch/estimate.js";
import { useFacts } from "../batch/model_facts.js";
import { MAX_LINES, metadataOf, planOf, seedsOf } from "../batch/plan.js";
import { sendBatch } from "../batch/sending.js";
import { count } from "../format.js";
import { html, useMemo, useRef, useState } from "../html.js";
import { defaultModel, useModels } from "../models.js";
import { goTo } from "../router.js";
import { useStore } from "../store.js";
import { complain } from "../toasts.js";
import { BatchAxes } from "./batch_axes.js";
import { Field } from "./field.js";
import { LinesInput } from "./lines_input.js";
import { ModelPicker } from "./model_picker.js";
import { Parameters, unusedBecause } from "./parameters.js";

const PROBLEMS_SHOWN = 5;

export function BatchForm() {
  const draft = useStore(batchDraft);
  const models = useModels();
  const usual = defaultModel(models, "text-to-video");
  const model = (draft.matrix ? draft.models?.[0] : draft.model) ?? usual;
  const chosen = (draft.matrix && draft.models) || [model];
  const known = useFacts(useMemo(() => modelsNamed(draft, chosen), [draft.file, chosen.join(" ")]));
  const { facts = null, error = null } = known.get(model) ?? {};
  const plan = useMemo(() => planOf(draft, { model, factsOf: (one) => known.get(one)?.facts }), [draft, model, known]);
  const { error: seedsError } = seedsOf(draft.seeds);
  const [sending, setSending] = useState(false);
  const [refused, setRefused] = useState(null);
  const alert = useRef();
  const cannot = whyNot({ plan, draft, seedsError, chosen, known });
  const estimate = usePlanEstimate(plan.requests, Boolean(facts) && !cannot);

  async function submit(event) {
    event.preventDefault();
    if (sending || cannot) return;
    setSending(true);
    setRefused(null);
    try {
      const batch = await sendBatch(plan.requests, metadataOf(draft, plan));
      clear();
      goTo("batch", batch.id);
    } catch (error) {
      setSending(false);
      setRefused(error);
      if (error.status === 0) complain(error);
      requestAnimationFrame(() => alert.current?.focus());
    }
  }

  function pressed(event) {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    submit(event);
  }

  return html`<form class="card batch-form" onSubmit=${submit} onKeyDown=${pressed} novalidate aria-label="A new batch">
    <h1 tabindex="-1">Make many videos</h1>
    <${Shape} matrix=${draft.matrix} />
    <${LinesInput} draft=${draft} plan=${plan} examples=${facts?.examples ?? []} />
    ${draft.matrix
      ? html`<${BatchAxes} draft=${draft} models=${models} usual=${usual} known=${known} seedsError=${seedsError} />`
      : html`<${ModelPicker} models=${models} model=${model} facts=${facts} error=${error} onModel=${(one) => change({ model: one })} />`}
    <fieldset class="shared">
      <legend>For all of them</legend>
      <${Parameters} values=${draft.values} setValue=${setShared} facts=${facts} errors=${{}} without=${draft.matrix ? ["seed", "image_fit"] : ["image_fit"]} />
      <${Field}
        label="What to avoid (negative prompt)"
        disabledBecause=${unusedBecause(facts, "negative_prompt")}
        input=${(attributes) => html`<input
          ...${attributes}
          maxlength="1000"
          value=${draft.values.negative_prompt ?? ""}
          onInput=${(event) => setShared("negative_prompt", event.target.value)}
        />`}
      />
      <${Field}
        label="Name of the batch (optional)"
        hint="To find it again."
        input=${(attributes) => html`<input
          ...${attributes}
          maxlength="100"
          value=${draft.name}
          onInput=${(event) => change({ name: event.target.value })}
        />`}
      />
    </fieldset>
    ${refused && html`<${Refused} error=${refused} elementRef=${alert} />`}
    ${plan.problems.length > 0 && html`<${Problems} problems=${plan.problems} matrix=${draft.matrix} />`}
    <div class="send">
      <button type="submit" class="primary" disabled=${sending || Boolean(cannot)}>
        ${sending ? "Sending…" : plan.requests.length ? `Make ${count(plan.requests.length, "video")}` : "Make them"}
      </button>
      <p class="hint" role="status">
        ${cannot ??
        html`<strong>${inWords(plan)}</strong> <span title=${estimate.basis}>${estimate.text}</span>
          ${chosen.some((one) => elsewhere(models, one)) && " A provider bills each of them."}`}
      </p>
    </div>
  </form>`;
}

// The models whose facts shape the lines: those of the form, and those that lines of a file name.
function modelsNamed(draft, chosen) {
  const own = draft.matrix ? [] : (draft.file?.lines ?? []).map((line) => line.model).filter((one) => typeof one === "string");
  return [...new Set([...chosen, ...own])].filter(Boolean).slice(0, 12);
}

function elsewhere(models, model) {
  return models?.find(({ id }) => id === model)?.where === "remote" || /^(hf:|https:)/.test(model ?? "");
}

function whyNot({ plan, draft, seedsError, chosen, known }) {
  if (!plan.rows.length) return "Write a prompt a line, or choose a file.";
  if (draft.matrix && seedsError) return seedsError;
  if (!chosen.length) return "Choose a model.";
  if (plan.requests.length > MAX_LINES) return `That would be ${plan.requests.length.toLocaleString()} videos; a batch has at most ${MAX_LINES.toLocaleString()}.`;
  if (plan.problems.length === plan.rows.length) return "None of these lines can be made.";
  const asking = chosen.find((one) => !known.has(one));
  if (asking !== undefined) return asking ? `Asking what ${asking} can do…` : "Asking which models there are…";
  const impossible = chosen.find((one) => {
    const facts = known.get(one)?.facts;
    return facts && !facts.tasks.includes("text-to-video") && plan.rows.some((row) => row.image === undefined);
  });
  return impossible ? `${impossible} needs an image to begin with; choose another model.` : null;
}

// What will be made, as a sum that can be checked.
function inWords({ rows, columns, requests }) {
  if (!columns.length) return `${count(requests.length, "video")}.`;
  const seeds = new Set(columns.map(({ seed }) => seed)).size;
  const models = new Set(columns.map(({ model }) => model)).size;
  return `${count(rows.length, "prompt")} × ${count(seeds, "seed")} × ${count(models, "model")} = ${count(requests.length, "video")}.`;
}

function Shape({ matrix }) {
  const shapes = [
    [false, "A list", "One video a prompt"],
    [true, "A matrix", "Each prompt with each seed and each model"],
  ];
  return html`<fieldset class="shapes">
    <legend class="unseen">What to make</legend>
    ${shapes.map(
      ([value, name, words]) => html`<label class="shape">
        <input type="radio" name="shape" checked=${matrix === value} onChange=${() => change({ matrix: value })} />
        <span><strong>${name}</strong> <span class="hint">${words}</span></span>
      </label>`,
    )}
  </fieldset>`;
}

function Refused({ error, elementRef }) {
  const byLine = Object.entries(error.details?.details ?? {}).filter(([, why]) => typeof why === "string");
  return html`<div class="error" role="alert" tabindex="-1" ref=${elementRef}>
    <p>${error.message}</p>
    ${byLine.length > 1 && html`<ul>${byLine.map(([name, why]) => html`<li>${name}: ${why}</li>`)}</ul>`}
  </div>`;
}

function Problems({ problems, matrix }) {
  const more = problems.length - PROBLEMS_SHOWN;
  return html`<div class="batch-problems" role="status">
    <p>${matrix ? "These rows" : "These lines"} will be kept as failed; they stop no other:</p>
    <ul>
      ${problems.slice(0, PROBLEMS_SHOWN).map(({ number, text }) => html`<li>${matrix ? "Row" : "Line"} ${number} ${text}</li>`)}
      ${more > 0 && html`<li>and ${more.toLocaleString()} more</li>`}
    </ul>
  </div>`;
}
