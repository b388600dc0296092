// Facts as people read them.
import { loraLine } from "./loras.js";

export function seconds(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "unknown";
  if (value < 0.1) return `${Math.round(value * 1000)} ms`;
  if (value < 10) return `${trimmed(value.toFixed(1))} s`;
  if (value < 90) return `${Math.round(value)} s`;
  const minutes = value / 60;
  if (minutes < 90) return `${trimmed(minutes.toFixed(minutes < 10 ? 1 : 0))} min`;
  return `${trimmed((minutes / 60).toFixed(1))} h`;
}

export function bytes(value) {
  if (value === null || value === undefined) return "unknown";
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  let size = value;
  while (size >= 1000 && unit < units.length - 1) {
    size /= 1000;
    unit += 1;
  }
  return `${trimmed(unit ? size.toPrecision(3) : String(size))} ${units[unit]}`;
}

function trimmed(number) {
  return number.includes(".") && !number.includes("e") ? number.replace(/\.?0+$/, "") : number;
}

// An amount with as many digits as tell something: 12.50 USD, 0.0042 USD.
export function money(amount, currency) {
  if (!amount) return `0 ${currency}`;
  const digits = Math.min(Math.max(2, 2 - Math.floor(Math.log10(Math.abs(amount)))), 6);
  return `${amount.toLocaleString(undefined, { minimumFractionDigits: 2, maximumFractionDigits: digits })} ${currency}`;
}

// When something was, for whoever looks now.
export function ago(epochSeconds, now = Date.now() / 1000) {
  const passed = now - epochSeconds;
  if (passed < 10) return "just now";
  if (passed < 24 * 3600) return `${seconds(passed)} ago`;
  return new Date(epochSeconds * 1000).toLocaleDateString(undefined, { dateStyle: "medium" });
}

export function moment(epochSeconds) {
  return new Date(epochSeconds * 1000).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
}

export function count(number, singular, plural = `${singular}s`) {
  return `${number.toLocaleString()} ${number === 1 ? singular : plural}`;
}

// A parameter's name as a word of the page.
export function parameterName(name) {
  const names = {
    num_inference_steps: "steps",
    guidance_scale: "guidance",
    negative_prompt: "negative prompt",
    image_fit: "image fit",
    frame_rate: "fps",
    native_fps: "the model's own fps",
    frames_made: "frames made",
    step_cache: "cached steps",
    channels_last: "channels last",
    compile: "compiled",
    lora: "LoRA",
  };
  return names[name] ?? name.replaceAll("_", " ");
}

export function shown(value) {
  if (value === null || value === undefined) return "none";
  if (Array.isArray(value)) return value.map(shown).join(", ");
  if (typeof value === "object") {
    if ("path" in value) return loraLine(value);
    return Object.entries(value).map(([name, one]) => `${parameterName(name)}: ${shown(one)}`).join(", ");
  }
  if (typeof value === "boolean") return value ? "yes" : "no";
  return String(value);
}

const STAGES = {
  queued: "Waiting",
  loading: "Loading the model",
  denoising: "Drawing",
  decoding: "Decoding the frames",
  encoding: "Writing the file",
  downloading: "Downloading",
  storing: "Storing",
};

// What goes on, in a few words.
export function stage(generation) {
  const { state, stage: name, step, steps, position, cancel_requested: cancelling } = generation;
  if (state === "completed") return "Done";
  if (state === "failed") return "Failed";
  if (state === "cancelled") return "Cancelled";
  if (cancelling) return "Cancelling";
  if (state === "queued") {
    if (position === 0) return "Waiting, next in line";
    return position ? `Waiting, ${position} ahead` : "Waiting";
  }
  if (!name) return "Starting";
  const words = STAGES[name] ?? name;
  return name === "denoising" && steps ? `${words}, step ${step} of ${steps}` : words;
}
