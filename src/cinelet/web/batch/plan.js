// What a batch would send: its lines in their order, what each is, and what is wrong with them.
import { meantValues } from "../parts/parameters.js";
import { linesOfText } from "./lines.js";

export const MAX_SEEDS = 24;
export const MAX_MODELS = 8;
export const MAX_LINES = 10_000;
const MAX_SEED = Number.MAX_SAFE_INTEGER;
const CUSTOM_ID_CHARACTERS = 200;

// Seeds by number and by range, "1, 2, 10-13": {seeds, error}.
export function seedsOf(text) {
  const seeds = new Set();
  for (const part of text.split(/[\s,;]+/).filter(Boolean)) {
    const [, from, to = from] = /^(\d+)(?:-(\d+))?$/.exec(part) ?? [];
    if (from === undefined || Number(to) > MAX_SEED) return { seeds: [], error: `${part} is no seed; write numbers, or ranges: 1, 2, 10-13` };
    if (Number(to) < Number(from)) return { seeds: [], error: `${part} goes backwards` };
    if (Number(to) - Number(from) >= MAX_SEEDS) return { seeds: [], error: `At most ${MAX_SEEDS} seeds` };
    for (let seed = Number(from); seed <= Number(to); seed += 1) seeds.add(seed);
  }
  if (seeds.size > MAX_SEEDS) return { seeds: [], error: `At most ${MAX_SEEDS} seeds` };
  return { seeds: [...seeds], error: null };
}

// draft: as draft.js holds it. model: where a line names none. factsOf: a model's facts, or undefined.
// Returns {rows, columns, requests, problems, repeats}: rows: the lines; columns: {seed, model} of a matrix, else [];
// requests: what is sent; problems: {number, text}; repeats: how many rows say what one before them says.
export function planOf(draft, { model, factsOf }) {
  const rows = [...linesOfText(draft.text), ...(draft.file?.lines ?? [])];
  const columns = draft.matrix ? columnsOf(draft, model) : [];
  const problems = [];
  const seen = new Set();
  const requests = [];
  let repeats = 0;
  rows.forEach((row, index) => {
    const text = problemOf(row);
    if (text) problems.push({ number: index + 1, text });
    const name = JSON.stringify(row);
    if (seen.has(name)) repeats += 1;
    seen.add(name);
    if (draft.matrix) for (const column of columns) requests.push(requestOf(row, column, draft, factsOf));
    else requests.push(requestOf(row, { model: row.model ?? model }, draft, factsOf));
  });
  return { rows, columns, requests, problems, repeats };
}

function columnsOf(draft, model) {
  const models = draft.models ?? [model];
  const { seeds } = seedsOf(draft.seeds);
  return models.flatMap((one) => (seeds.length ? seeds : [undefined]).map((seed) => ({ model: one, seed })));
}

function requestOf(row, { model, seed }, draft, factsOf) {
  if (typeof row === "string") return row;
  const { seed: _one, ...shared } = draft.values;
  const values = { ...(draft.matrix ? shared : draft.values), ...row, model };
  if (seed !== undefined) values.seed = seed;
  const request = meantValues(values, factsOf(model));
  request.custom_id ??= nameOf(request.prompt);
  if (!request.custom_id) delete request.custom_id;
  return request;
}

// The prompt's beginning, by which a line is known where nothing could be made of it. Without what the service may not
// take in a name: signs that cannot be printed, and pictures that are newer than it.
function nameOf(prompt) {
  if (typeof prompt !== "string") return undefined;
  const printable = prompt.replace(/[\p{C}\p{Z}\p{Extended_Pictographic}]+/gu, " ").trim();
  return Array.from(printable).slice(0, CUSTOM_ID_CHARACTERS).join("");
}

function problemOf(row) {
  if (typeof row === "string") return "is no JSON object";
  if (row.image !== undefined) return null;
  if (typeof row.prompt !== "string" || !row.prompt.trim()) return "has no prompt";
  const length = Array.from(row.prompt).length;
  return length > 1000 ? `has ${length.toLocaleString()} characters; at most 1,000 are taken` : null;
}

// What comes back with the batch, and says how it is shown. Each text of it has at most 512 characters.
export function metadataOf(draft, { rows, columns }) {
  const metadata = { name: draft.name.trim() || namedByLines(rows) };
  if (columns.length) {
    const seeds = [...new Set(columns.map(({ seed }) => seed))].filter((seed) => seed !== undefined);
    metadata.shape = "matrix";
    metadata.seeds = JSON.stringify(seeds);
    [...new Set(columns.map(({ model }) => model))].forEach((model, index) => {
      metadata[`model_${index + 1}`] = model;
    });
  }
  return metadata;
}

function namedByLines(rows) {
  const first = Array.from(nameOf(rows.find((row) => row.prompt)?.prompt) || "Videos").slice(0, 60).join("");
  return rows.length > 1 ? `${first} and ${rows.length - 1} more` : first;
}

// The columns that the metadata of a batch names: {models, seeds}, or null where it is no matrix.
export function matrixOf({ metadata, counts }) {
  if (metadata.shape !== "matrix") return null;
  try {
    const seeds = JSON.parse(metadata.seeds);
    const models = Array.from({ length: MAX_MODELS }, (_, index) => metadata[`model_${index + 1}`]).filter(Boolean);
    const width = models.length * Math.max(1, seeds?.length);
    // Anybody may write metadata: what does not fit its lines is shown as a list.
    return Array.isArray(seeds) && width && counts.total % width === 0 ? { models, seeds, width } : null;
  } catch {
    return null;
  }
}
