// In what generations differ: rows of a table, one value for each of them.
import { bytes, money, parameterName, seconds, shown } from "./format.js";

// Said by other rows, or about no video.
const LEFT_OUT = new Set(["task", "model", "cache"]);
const FIRST = ["prompt", "negative_prompt", "duration", "fps", "width", "height", "num_inference_steps", "guidance_scale", "seed"];

const MEASURED = [
  ["Size", ({ resolution }) => resolution.replace("x", " × ")],
  ["Duration", ({ duration }) => seconds(duration)],
  ["Frames", ({ frames }) => String(frames)],
  ["Frames a second", ({ fps }) => String(Number(fps.toFixed(3)))],
  ["Codec", ({ codec, container }) => `${codec} in ${container}`],
  ["File", ({ video_size: size }) => bytes(size)],
  ["Cost", ({ cost, currency }) => (cost == null ? "unknown" : money(cost, currency))],
  ["Time to make it", ({ generation_time: time, cache }) => (cache === "hit" ? "from the cache" : seconds(time))],
];

function byImportance(one, other) {
  const place = (name) => (FIRST.includes(name) ? FIRST.indexOf(name) : FIRST.length);
  return place(one) - place(other) || one.localeCompare(other);
}

// values: texts, null where there is nothing to compare. compared: what counts, where that is not the text.
function row(name, values, compared = values) {
  const said = compared.filter((value) => value !== null);
  return { name, values, differs: said.length > 1 && said.some((value) => value !== said[0]) };
}

// What was asked for; or else what was decided, which is said to be so.
function askedFor(name) {
  return ({ request, result }) => {
    const asked = request[name] ?? null;
    const value = asked ?? result?.applied?.[name] ?? null;
    if (value === null) return { text: "the model's own", value: "" };
    const text = name === "duration" ? seconds(value) : shown(value);
    return { text: asked === null ? `${text}, not asked for` : text, value: String(value) };
  };
}

// Groups of rows: [{title, rows: [{name, values, differs}]}]. generations: null for each of which nothing is known; a
// value is null where there is none to compare.
export function differences(generations) {
  const of = (value) => generations.map((generation) => (generation ? value(generation) : null));
  const names = new Set();
  for (const generation of generations) {
    for (const name of Object.keys(generation?.request ?? {})) if (!LEFT_OUT.has(name)) names.add(name);
  }
  const asked = [...names].sort(byImportance).map((name) => {
    const values = of(askedFor(name));
    return row(capital(parameterName(name)), values.map((one) => one && one.text), values.map((one) => one && one.value));
  });
  const made = [
    ...(generations.some((one) => one?.model && one.model !== one.requested_model) ? [row("Model asked for", of((one) => one.requested_model))] : []),
    row("Model", of(({ model, requested_model: requested }) => model ?? requested)),
    ...["seed", "num_inference_steps", "guidance_scale"].filter((name) => !names.has(name)).map((name) =>
      row(capital(parameterName(name)), of(({ result }) => (result ? shown(result.applied?.[name] ?? result[name]) : null))),
    ),
  ];
  const measured = MEASURED.map(([name, value]) => row(name, of(({ result }) => (result ? value(result) : null))));
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
