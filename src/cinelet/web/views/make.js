// The form, and what comes of it.
import { caller } from "../api.js";
import { draft, draftImage, setCurrent, setValue } from "../draft.js";
import { useEstimate } from "../estimate.js";
import { html, useEffect, useRef, useState } from "../html.js";
import { make } from "../making.js";
import { defaultModel, useModel, useModels } from "../models.js";
import { CHOICE_FIELDS, ChoiceFields } from "../parts/choice_fields.js";
import { GenerationPanel } from "../parts/generation_panel.js";
import { Field } from "../parts/field.js";
import { ImageInput } from "../parts/image_input.js";
import { ModelPicker } from "../parts/model_picker.js";
import { Parameters, meantValues, unusedBecause } from "../parts/parameters.js";
import { useStore } from "../store.js";
import { complain } from "../toasts.js";

const IMAGE_BYTES = 20 * 1024 * 1024;
const COMMAND_KEY = /Mac|iPhone|iPad/.test(navigator.platform) ? "⌘" : "Ctrl";

export function Make() {
  const { values, current } = useStore(draft);
  const image = useStore(draftImage);
  const { role } = useStore(caller);
  const models = useModels();
  const task = image ? "image-to-video" : "text-to-video";
  const model = values.model ?? defaultModel(models, task);
  const { facts, error: modelError } = useModel(model);
  const [errors, setErrors] = useState({});
  const [sending, setSending] = useState(false);
  const form = useRef();
  const panel = useRef();
  const meant = meantValues({ ...values, model }, facts);
  const { prompt, ...rest } = meant;
  const estimate = useEstimate({ ...rest, task }, Boolean(facts) && role !== "read");
  const cannot = whyNot({ facts, task, role });

  // Where the two stand below each other, whoever pressed the button wants to see what happens.
  function showPanel() {
    const block = matchMedia("(max-width: 60rem)").matches ? "start" : "nearest";
    panel.current?.scrollIntoView({ block, behavior: "smooth" });
  }

  async function send(wanted) {
    if (sending) return;
    setSending(true);
    setErrors({});
    try {
      const generation = await make(wanted, image);
      setCurrent(generation.id);
      showPanel();
    } catch (error) {
      const byField = error.details?.details ?? {};
      const fields = Object.fromEntries(Object.entries(byField).filter(([, why]) => typeof why === "string"));
      setErrors(fields);
      if (!Object.keys(fields).length || !Object.keys(fields).every((name) => SHOWN_FIELDS.has(name))) complain(error);
    } finally {
      setSending(false);
    }
  }

  useEffect(() => {
    if (Object.keys(errors).length) form.current?.querySelector("[aria-invalid=true]")?.focus();
  }, [errors]);

  function submit(event) {
    event.preventDefault();
    send(meant);
  }

  function pressed(event) {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      form.current.requestSubmit();
    }
  }

  function tryExample(example) {
    setValue("prompt", example);
    send({ ...meant, prompt: example });
  }

  const examples = image ? [] : (facts?.examples ?? []);
  return html`<div class="make">
    <form class="card make-form" ref=${form} onSubmit=${submit} onKeyDown=${pressed} novalidate>
      <h1 tabindex="-1">Make a video</h1>
      <${Field}
        label="What should it show?"
        error=${errors.prompt}
        input=${(attributes) => html`<textarea
          ...${attributes}
          maxlength="1000"
          rows="3"
          placeholder=${examples[0] ?? "A fox runs through fresh snow at sunrise"}
          value=${prompt ?? ""}
          onInput=${(event) => setValue("prompt", event.target.value)}
        ></textarea>`}
      />
      ${examples.length > 0 &&
      html`<div class="examples" role="group" aria-label="Examples">
        <p class="hint">Or click one, and it is made:</p>
        <div class="buttons">
          ${examples.slice(0, 4).map(
            (example) =>
              html`<button type="button" class="chip" disabled=${sending || cannot} onClick=${() => tryExample(example)}>${example}</button>`,
          )}
        </div>
      </div>`}
      <${ImageInput}
        image=${image}
        onImage=${(file) => {
          draftImage.value = file;
        }}
        maxBytes=${facts?.limits?.image_bytes ?? IMAGE_BYTES}
        error=${errors.image}
      />
      <${ModelPicker}
        models=${models}
        model=${model}
        facts=${facts}
        error=${modelError}
        fieldError=${errors.model}
        onModel=${(chosen) => setValue("model", chosen)}
      />
      <${ChoiceFields} values=${values} setValue=${setValue} errors=${errors} />
      <${Parameters} values=${values} setValue=${setValue} facts=${facts} errors=${errors} />
      <details class="negative" open=${Boolean(values.negative_prompt || errors.negative_prompt)}>
        <summary>What to avoid</summary>
        <${Field}
          label="Negative prompt"
          error=${errors.negative_prompt}
          disabledBecause=${unusedBecause(facts, "negative_prompt")}
          input=${(attributes) => html`<textarea
            ...${attributes}
            maxlength="1000"
            rows="2"
            value=${values.negative_prompt ?? ""}
            onInput=${(event) => setValue("negative_prompt", event.target.value)}
          ></textarea>`}
        />
      </details>
      <div class="send">
        <button type="submit" class="primary" disabled=${sending || Boolean(cannot)}>
          ${sending ? "Sending…" : "Make video"} <kbd aria-hidden="true">${COMMAND_KEY} ↵</kbd>
        </button>
        <p class="estimate hint" title=${estimate.basis} role="status">${cannot ?? estimate.text}</p>
      </div>
    </form>
    <section class="make-result" ref=${panel} aria-label="Your video">
      ${current
        ? html`<${GenerationPanel} key=${current} id=${current} onMade=${(made) => {
            setCurrent(made.id);
            showPanel();
          }} onGone=${() => setCurrent(null)} />`
        : html`<div class="placeholder empty">
            <div class="screen" aria-hidden="true"><span></span></div>
            <h2>Your video appears here</h2>
            <p>${examples.length ? "Click an example, or write what you would like to see." : "Write what you would like to see, and press the button."}</p>
          </div>`}
    </section>
  </div>`;
}

const SHOWN_FIELDS = new Set([
  ...["prompt", "negative_prompt", "image", "model", "duration", "fps", "num_inference_steps", "guidance_scale", "seed"],
  ...["width", "height", "size", "quality", "preset", "codec", "image_fit", "cache", "lora", "upscaler"],
  ...CHOICE_FIELDS,
]);

function whyNot({ facts, task, role }) {
  if (role === "read") return "Your key may look, and not make videos.";
  if (facts && !facts.tasks.includes(task)) {
    if (task === "text-to-video") return "This model needs an image to begin with.";
    return "This model makes videos from text alone: remove the image, or choose another.";
  }
  return null;
}
