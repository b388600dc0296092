// A generation as what makes it again: a line for a shell, a few lines of Python.
import { loraLine } from "./loras.js";

const OPTIONS = {
  model: "--model",
  negative_prompt: "--negative-prompt",
  duration: "--duration",
  fps: "--fps",
  num_inference_steps: "--steps",
  guidance_scale: "--guidance",
  seed: "--seed",
  image_fit: "--image-fit",
  quality: "--quality",
  preset: "--preset",
  codec: "--codec",
  cache: "--cache",
  upscaler: "--upscaler",
  prefer: "--prefer",
  max_cost: "--max-cost",
  max_seconds: "--max-seconds",
  quality: "--quality",
};

export const SNIPPETS = { curl: asCurl, Python: asPython, "Command line": asCommand };

// A text as one word of a POSIX shell, whatever is in it.
export function shellWord(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", String.raw`'\''`)}'`;
}

// A value as a field of a form has it.
function formValue(value) {
  return typeof value === "object" ? JSON.stringify(value) : value;
}

export function asCurl(values, { image, origin, needsKey }) {
  const auth = needsKey ? ' \\\n  -H "Authorization: Bearer $CINELET_KEY"' : "";
  if (image) {
    const { cache: _cache, ...rest } = values;
    const fields = Object.entries(rest).map(([name, value]) => ` \\\n  -F ${shellWord(`${name}=${formValue(value)}`)}`);
    return `curl ${shellWord(`${origin}/v1/image-to-video`)}${auth} \\\n  -F image=@image.png${fields.join("")}`;
  }
  const body = shellWord(JSON.stringify(values));
  return `curl ${shellWord(`${origin}/v1/text-to-video`)}${auth} \\\n  -H 'Content-Type: application/json' \\\n  -d ${body}`;
}

// A JSON value as Python writes it. The texts of JSON are texts of Python, but for one escape that we do not write.
export function pythonValue(value) {
  if (value === true) return "True";
  if (value === false) return "False";
  if (value === null) return "None";
  return JSON.stringify(value);
}

export function asPython(values, { image }) {
  const { prompt, ...rest } = values;
  const given = Object.entries(rest).map(([name, value]) => `    ${name}=${pythonValue(value)},`);
  const first = image
    ? ['    image="image.png",', ...(prompt ? [`    prompt=${pythonValue(prompt)},`] : [])]
    : [`    ${pythonValue(prompt)},`];
  return `from cinelet import generate\n\nvideo = generate(\n${[...first, ...given].join("\n")}\n)\nvideo.save("video.${values.codec === "vp9" ? "webm" : "mp4"}")`;
}

export function asCommand(values, { image }) {
  const { prompt, fallback, width, height, lora = [], ...rest } = values;
  const options = Object.entries(rest)
    .filter(([name]) => OPTIONS[name])
    .map(([name, value]) => `${OPTIONS[name]} ${shellWord(String(value))}`);
  if (width && height) options.push(`--size ${width}x${height}`);
  options.push(...lora.map((one) => `--lora ${shellWord(loraLine(one))}`));
  if (image) options.push("--image image.png");
  if (fallback === false) options.push("--no-fallback");
  // Whatever follows -- is no option, however it begins.
  if (prompt) options.push(`${prompt.startsWith("-") ? "-- " : ""}${shellWord(prompt)}`);
  return ["cinelet generate", ...options].join(" \\\n  ");
}
