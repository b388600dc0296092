// What a video may be asked to be like, within what the model can do.
import { html } from "../html.js";
import { seconds } from "../format.js";
import { Field } from "./field.js";
import { LocalFields } from "./local_fields.js";
import { longestSeconds } from "./model_picker.js";
import { SizePicker } from "./size_picker.js";

const RATES = [8, 12, 16, 24, 25, 30, 60];
const MAX_SAFE_SEED = 2 ** 53 - 1;
const DEFAULT_DURATION = 6;
const DEFAULT_RATE = 8;

// The values that are meant: those of the form, and where it is silent the model's own instead of the service's.
export function meantValues(values, facts) {
  const meant = { ...values };
  const longest = Math.max(1, longestSeconds(facts) ?? Infinity);
  if (meant.duration === undefined && longest < DEFAULT_DURATION) meant.duration = longest;
  const rate = Math.round(facts?.native_fps ?? DEFAULT_RATE);
  if (meant.fps === undefined && rate !== DEFAULT_RATE) meant.fps = rate;
  return meant;
}

// Why a parameter is not offered, or undefined where it is.
export function unusedBecause(facts, name) {
  return facts && !facts.parameters.includes(name) ? "This model does not use it." : undefined;
}

export function randomSeed() {
  return crypto.getRandomValues(new Uint32Array(1))[0];
}

// without: names of those that this form has no use for.
export function Parameters({ values, setValue, facts, errors, without = [] }) {
  const limits = facts?.limits ?? {};
  const unused = (name) => unusedBecause(facts, name);
  const meant = meantValues(values, facts);
  const [shortest, longestAllowed] = limits.duration ?? [1, 30];
  const longest = Math.max(1, Math.min(longestAllowed, longestSeconds(facts) ?? longestAllowed));
  const duration = meant.duration ?? DEFAULT_DURATION;
  const rate = meant.fps ?? DEFAULT_RATE;
  const rates = [...new Set([...RATES, rate])].sort((one, other) => one - other);
  const [fewest, most] = limits.num_inference_steps ?? [1, 100];
  const number = (event) => (event.target.value === "" ? undefined : event.target.valueAsNumber);
  return html`
    <div class="fields">
      <${Field}
        label="Duration"
        value=${seconds(duration)}
        error=${errors.duration}
        input=${(attributes) => html`<input
          ...${attributes}
          type="range"
          min=${shortest}
          max=${Math.max(longest, duration)}
          step="0.5"
          value=${duration}
          aria-valuetext=${seconds(duration)}
          onInput=${(event) => setValue("duration", number(event))}
        />`}
      />
      <${SizePicker}
        facts=${facts}
        width=${values.width}
        height=${values.height}
        errors=${errors}
        disabledBecause=${unused("width")}
        onSize=${(width, height) => {
          setValue("width", width);
          setValue("height", height);
        }}
      />
      ${!without.includes("seed") &&
      html`<${Field}
        label="Seed"
        error=${errors.seed}
        disabledBecause=${unused("seed")}
        input=${(attributes) => html`<div class="row">
          <input
            ...${attributes}
            type="number"
            min="0"
            max=${MAX_SAFE_SEED}
            step="1"
            placeholder="another each time"
            value=${values.seed ?? ""}
            onInput=${(event) => setValue("seed", number(event))}
          />
          <button
            type="button"
            class="icon"
            aria-label="Roll a seed"
            title="Roll a seed"
            disabled=${attributes.disabled}
            onClick=${() => setValue("seed", randomSeed())}
          >
            ⚄
          </button>
        </div>`}
      />`}
    </div>
    <details class="advanced" open=${Object.keys(errors).some((name) => ADVANCED.has(name))}>
      <summary>More parameters</summary>
      <div class="fields">
        <${Field}
          label="Steps"
          value=${meant.num_inference_steps ?? facts?.default_steps ?? "the model's own"}
          error=${errors.num_inference_steps}
          disabledBecause=${unused("num_inference_steps")}
          hint="More take longer, and may look better."
          input=${(attributes) => html`<input
            ...${attributes}
            type="range"
            min=${fewest}
            max=${most}
            value=${values.num_inference_steps ?? facts?.default_steps ?? 50}
            onInput=${(event) => setValue("num_inference_steps", number(event))}
          />`}
        />
        <${Field}
          label="Frames a second"
          error=${errors.fps}
          input=${(attributes) => html`<select
            ...${attributes}
            value=${rate}
            onChange=${(event) => setValue("fps", Number(event.target.value))}
          >
            ${rates.map(
              (one) => html`<option value=${one}>${one}${one === Math.round(facts?.native_fps ?? 0) ? ", the model's own" : ""}</option>`,
            )}
          </select>`}
        />
        <${Field}
          label="Guidance"
          error=${errors.guidance_scale}
          disabledBecause=${unused("guidance_scale")}
          hint="How closely to follow the prompt."
          input=${(attributes) => html`<input
            ...${attributes}
            type="number"
            min="0"
            max="100"
            step="0.1"
            placeholder=${facts?.default_guidance ?? "the model's own"}
            value=${values.guidance_scale ?? ""}
            onInput=${(event) => setValue("guidance_scale", number(event))}
          />`}
        />
        <${Choice}
          name="quality"
          label="Speed or exactness"
          options=${QUALITIES}
          disabledBecause=${unused("quality")}
          ...${{ values, setValue, errors }}
        />
        <${LocalFields} ...${{ values, setValue, errors, unused }} />
        <${Choice} name="preset" label="Quality of the file" options=${PRESETS} ...${{ values, setValue, errors }} />
        <${Choice} name="codec" label="Kind of file" options=${CODECS} ...${{ values, setValue, errors }} />
        ${!without.includes("image_fit") && html`<${Choice} name="image_fit" label="Fit of the image" options=${FITS} ...${{ values, setValue, errors }} />`}
        <${Choice} name="cache" label="Videos made before" options=${CACHES} ...${{ values, setValue, errors }} />
      </div>
      <label class="check">
        <input
          type="checkbox"
          checked=${values.fallback !== false}
          onChange=${(event) => setValue("fallback", event.target.checked ? undefined : false)}
        />
        Let another model do it where this one fails
      </label>
    </details>
  `;
}

const ADVANCED = new Set(["num_inference_steps", "fps", "guidance_scale", "quality", "preset", "codec", "image_fit", "cache", "lora", "upscaler"]);
const QUALITIES = { "": "as configured", fast: "fast, with small losses", balanced: "balanced", exact: "exact, to the last bit" };
const PRESETS = { "": "as configured", low: "low, small", medium: "medium", high: "high, large" };
const CODECS = { "": "H.264, plays everywhere", av1: "AV1, smaller", vp9: "VP9, WebM" };
const FITS = { "": "cut to the video's shape", pad: "whole, with borders" };
const CACHES = { "": "may be the answer", refresh: "make it anew", off: "neither look nor keep" };

function Choice({ name, label, options, values, setValue, errors, disabledBecause }) {
  return html`<${Field}
    label=${label}
    error=${errors[name]}
    disabledBecause=${disabledBecause}
    input=${(attributes) => html`<select
      ...${attributes}
      value=${values[name] ?? ""}
      onChange=${(event) => setValue(name, event.target.value)}
    >
      ${Object.entries(options).map(([value, words]) => html`<option value=${value}>${words}</option>`)}
    </select>`}
  />`;
}
