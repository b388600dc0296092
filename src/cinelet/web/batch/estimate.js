// How long a batch will take, by what was measured here for each kind of line in it.
import { post } from "../api.js";
import { inWords, useSaid } from "../estimate.js";

// Kinds of line that are asked about; what the rest takes is taken from them.
const MOST_ASKED = 8;
const ASIDE = new Set(["prompt", "negative_prompt", "seed", "custom_id", "priority", "webhook_url", "cache", "image", "image_fit"]);

// Lines that take as long as each other: [{values, count}], the most frequent first.
export function kindsOf(requests) {
  const kinds = new Map();
  for (const request of requests) {
    if (typeof request === "string") continue;
    const values = Object.fromEntries(Object.entries(request).filter(([name]) => !ASIDE.has(name)));
    if (request.image !== undefined) values.task = "image-to-video";
    const name = JSON.stringify(Object.entries(values).sort(([one], [other]) => (one < other ? -1 : 1)));
    const kind = kinds.get(name) ?? { values, count: 0 };
    kind.count += 1;
    kinds.set(name, kind);
  }
  return [...kinds.values()].sort((one, other) => other.count - one.count);
}

// The estimate of a plan: {text, basis}; text: "" until there is one.
export function usePlanEstimate(requests, ready) {
  const kinds = kindsOf(requests);
  return useSaid(kinds, ready && kinds.length > 0, (signal) => estimateOf(kinds, signal));
}

async function estimateOf(kinds, signal) {
  const answers = [];
  for (const { values, count } of kinds.slice(0, MOST_ASKED)) {
    try {
      answers.push({ count, ...(await post("/v1/estimate", values, { signal })) });
    } catch (error) {
      // Of a line that the service would refuse nothing is to be expected.
      if (error.status !== 422) throw error;
    }
  }
  const measured = answers.filter(({ samples, seconds: likely }) => samples && likely !== null);
  const basis = [...new Set(answers.map((answer) => answer.basis))].join("; ");
  const all = kinds.reduce((sum, { count }) => sum + count, 0);
  const known = measured.reduce((sum, { count }) => sum + count, 0);
  const samples = measured.length;
  const total = (name) => (measured.reduce((sum, answer) => sum + answer[name] * answer.count, 0) * all) / known;
  const waiting = Math.max(0, ...answers.map((answer) => answer.waiting ?? 0));
  const estimate = { seconds: total("seconds"), low: total("low"), high: total("high"), samples, waiting };
  return { text: inWords(estimate, { many: all }), basis };
}
