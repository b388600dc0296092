// Lines of a batch out of texts and files. A line is an object of values; what cannot be read is the text as it came.
import { lorasOf } from "../loras.js";

const NUMBERS = new Set(["duration", "fps", "num_inference_steps", "guidance_scale", "seed", "width", "height", "priority", "max_cost", "max_seconds"]);
const TEXTS = ["prompt", "negative_prompt", "model", "preset", "codec", "cache", "image_fit", "image", "custom_id", "webhook_url", "upscaler", "quality", "prefer"];
const COLUMNS = new Set([...NUMBERS, ...TEXTS, "fallback", "lora"]);
const ALSO = { text: "prompt", steps: "num_inference_steps", guidance: "guidance_scale", id: "custom_id", loras: "lora" };
export const MAX_FILE_BYTES = 32 * 1024 * 1024;

// One prompt a line; blank ones are none.
export function linesOfText(text) {
  return text
    .split(/\r\n|\r|\n/)
    .map((line) => line.trim())
    .filter(Boolean)
    .map((prompt) => ({ prompt }));
}

// One JSON object a line, as `/v1/batches` takes them; a text alone is a prompt.
export function linesOfJsonl(text) {
  return text
    .split(/\r\n|\n/)
    .filter((line) => line.trim())
    .map((line) => {
      try {
        const value = JSON.parse(line);
        if (typeof value === "string") return { prompt: value };
        return value !== null && typeof value === "object" && !Array.isArray(value) ? value : line;
      } catch {
        return line;
      }
    });
}

// A table with a heading that has a column `prompt`, or without heading: then the first column holds the prompts.
// Returns {lines, unknown}: unknown: the columns that are no parameters.
export function linesOfCsv(text) {
  const [first = ""] = text.split(/\r\n|\n/, 1);
  const [separator] = [",", ";", "\t"].sort((one, other) => first.split(other).length - first.split(one).length);
  const rows = rowsOf(text, separator).filter((row) => row.some((cell) => cell.trim()));
  const heading = (rows[0] ?? []).map((cell) => {
    const name = cell.trim().toLowerCase().replaceAll(" ", "_");
    return ALSO[name] ?? name;
  });
  if (!heading.includes("prompt")) return { lines: rows.map(([prompt]) => ({ prompt: prompt.trim() })), unknown: [] };
  const unknown = heading.filter((name) => name && !COLUMNS.has(name));
  const lines = rows.slice(1).map((row) => {
    const given = heading.map((name, index) => [name, (row[index] ?? "").trim()]);
    return Object.fromEntries(given.filter(([name, cell]) => COLUMNS.has(name) && cell).map(([name, cell]) => [name, valueOf(name, cell)]));
  });
  return { lines, unknown };
}

function valueOf(name, cell) {
  // What is no number stays as it is: the service says so, for its line.
  if (NUMBERS.has(name) && !Number.isNaN(Number(cell))) return Number(cell);
  if (name === "lora") return lorasOf(cell);
  if (name === "fallback") return ["1", "true", "yes"].includes(cell.toLowerCase());
  return cell;
}

function rowsOf(text, separator) {
  const rows = [];
  let row = [];
  let cell = "";
  let quoted = false;
  for (let at = 0; at < text.length; at += 1) {
    const sign = text[at];
    if (quoted) {
      if (sign !== '"') cell += sign;
      else if (text[at + 1] === '"') {
        cell += sign;
        at += 1;
      } else quoted = false;
    } else if (sign === '"' && !cell.trim()) {
      quoted = true;
      cell = "";
    } else if (sign === separator || sign === "\n") {
      row.push(cell);
      cell = "";
      if (sign === "\n") {
        rows.push(row);
        row = [];
      }
    } else if (sign !== "\r") cell += sign;
  }
  if (cell || row.length) rows.push([...row, cell]);
  return rows;
}

// Reads a file: {name, lines, unknown}. Raises Error with what to do where it is none that we read.
export async function linesOfFile(file) {
  const kind = /\.(txt|csv|tsv|jsonl|ndjson)$/i.exec(file.name)?.[1].toLowerCase();
  if (!kind) throw new Error(`${file.name} is no .txt, .csv or .jsonl file.`);
  if (file.size > MAX_FILE_BYTES) throw new Error(`${file.name} is too large; at most 32 MB are read. Send it by the command line: cinelet batch`);
  const text = (await file.text()).replace(/^\uFEFF/, "");
  const read = { txt: linesOfText, jsonl: linesOfJsonl, ndjson: linesOfJsonl, csv: linesOfCsv, tsv: linesOfCsv }[kind](text);
  const { lines, unknown } = Array.isArray(read) ? { lines: read, unknown: [] } : read;
  if (!lines.length) throw new Error(`${file.name} has no line.`);
  return { name: file.name, lines, unknown };
}

// Whether lines say nothing but their prompt, so that they can stand in a text.
export function isText(lines) {
  return lines.every((line) => {
    if (typeof line === "string") return false;
    return Object.keys(line).length === 1 && typeof line.prompt === "string" && linesOfText(line.prompt).length === 1;
  });
}
