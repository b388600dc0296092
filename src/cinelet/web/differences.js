// In what generations differ: rows of a table, one value for each of them.
import { bytes, parameterName, seconds, shown } from "./format.js";

// Said by other rows, or about no video.
const LEFT_OUT = new Set(["task", "model", "cache"]);
const FIRST = ["prompt", "negative_prompt", "duration", "fps", "width", "height", "num_inference_steps", "guidance_scale", "seed"];

const MEASURED = [
  ["resolution", "Size", ({ resolution }) => resolution.replace("x", " × ")],
  ["duration", "Duration", ({ duration }) => seconds(duration)],
  ["frames", "Frames", ({ frames }) => String(frames)],
  ["fps", "Frames a second", ({ fps }) => String(Number(fps.toFixed(3)))],
  ["codec", "Codec", ({ codec, container }) => `${codec} in ${container}`],
  ["video_size", "File", ({ video_size: size }) => bytes(size)],
  ["generation_time", "Time to make it", ({ generation_time: time, cache }) => (cache === "hit" ? "from the cache" : seconds(time))],
];

function byImportance(one, other) {
  const place = (name) => (FIRST.includes(name) ? FIRST.indexOf(name) : FIRST.length);
  return place(one) - place(other) || one.localeCompare(other);
}

function row(name, values) {
  const said = values.filter((value) => value !== null);
  return { name, values, differs: said.length > 1 && said.some((value) => value !== said[0]) };
}

// Groups of rows: [{title, rows: [{name, values, differs}]}]. generations: null for each of which nothing is known; a
// value is null where there is none to compare.
export function differences(generations) {
  const of = (value) => generations.map((generation) => (generation ? value(generation) : null));
  const names = new Set();
  for (const generation of generations) {
    for (const name of Object.keys(generation?.request ?? {})) if (!LEFT_OUT.has(name)) names.add(name);
  }
  const asked = [...names].sort(byImportance).map((name) =>
    row(
      capital(parameterName(name)),
      of(({ request, result }) => {
        // What was not asked for, and yet decided for this one.
        const value = request[name] ?? result?.applied?.[name];
        return value === undefined || value === null ? "the model's own" : shown(value);
      }),
    ),
  );
  const seeds = of(({ result }) => result && String(result.seed));
  if (!names.has("seed")) asked.push(row("Seed", seeds));
  const made = [
    row("Model", of(({ model, requested_model: requested }) => model ?? requested)),
    ...["num_inference_steps", "guidance_scale"].filter((name) => !names.has(name)).map((name) =>
      row(capital(parameterName(name)), of(({ result }) => (result ? shown(result.applied?.[name]) : null))),
    ),
  ];
  const measured = MEASURED.map(([, name, value]) => row(name, of(({ result }) => (result ? value(result) : null))));
  const changed = row(
    "Changed of what was asked",
    of(({ adjustments, result }) => (result ? adjustments.map(({ parameter }) => parameterName(parameter)).join(", ") || "nothing" : null)),
  );
  return [
    { title: "Asked for", rows: asked },
    { title: "Made with", rows: [...made, changed] },
    { title: "Measured", rows: measured },
  ];
}

function capital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
