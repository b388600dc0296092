// How long a video will take, by what was measured here.
import { post } from "./api.js";
import { seconds } from "./format.js";
import { useEffect, useState } from "./html.js";

const PAUSE = 300;
const NOTHING = { text: "", basis: "" };

// The estimate of values, in words; text: "" until there is one. basis: what it is founded on.
export function useEstimate(values, ready) {
  return useSaid(values, ready, async (signal) => {
    const estimate = await post("/v1/estimate", values, { signal });
    return { text: inWords(estimate), basis: estimate.basis };
  });
}

// What ask(signal) says of something, asked again a moment after it has changed; nothing where it fails.
export function useSaid(about, ready, ask) {
  const [said, say] = useState(NOTHING);
  useEffect(() => {
    if (!ready) {
      say(NOTHING);
      return undefined;
    }
    const asking = new AbortController();
    const timer = setTimeout(() => {
      ask(asking.signal)
        .then(say)
        .catch((error) => error.name !== "AbortError" && say(NOTHING));
    }, PAUSE);
    return () => {
      clearTimeout(timer);
      asking.abort();
    };
  }, [JSON.stringify(about), ready]);
  return said;
}

// many: how many videos that is, made one after another.
export function inWords({ seconds: likely, low, high, samples, waiting }, { many = 1 } = {}) {
  if (!samples || likely === null) return "Nothing was measured yet, so nobody knows how long it takes.";
  const spread = seconds(low) === seconds(high) ? "" : ` (${seconds(low)} to ${seconds(high)})`;
  const wait = waiting > 1 ? `, after ${seconds(waiting)} of waiting` : "";
  return `About ${seconds(likely)}${many > 1 ? " one after another" : ""}${spread}${wait}`;
}
