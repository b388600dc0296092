// How long a video will take, by what was measured here.
import { post } from "./api.js";
import { seconds } from "./format.js";
import { useEffect, useState } from "./html.js";

const PAUSE = 300;

// The estimate of values, in words; "" until there is one. basis: what it is founded on.
export function useEstimate(values, ready) {
  const [said, say] = useState({ text: "", basis: "" });
  const asked = JSON.stringify(values);
  useEffect(() => {
    if (!ready) return undefined;
    const asking = new AbortController();
    const timer = setTimeout(() => {
      post("/v1/estimate", values, { signal: asking.signal })
        .then((estimate) => say({ text: inWords(estimate), basis: estimate.basis }))
        .catch((error) => error.name !== "AbortError" && say({ text: "", basis: "" }));
    }, PAUSE);
    return () => {
      clearTimeout(timer);
      asking.abort();
    };
  }, [asked, ready]);
  return said;
}

export function inWords({ seconds: likely, low, high, samples, waiting }) {
  if (!samples || likely === null) return "Nothing was measured yet, so nobody knows how long it takes.";
  const spread = seconds(low) === seconds(high) ? "" : ` (${seconds(low)} to ${seconds(high)})`;
  const wait = waiting > 1 ? `, after ${seconds(waiting)} of waiting` : "";
  return `About ${seconds(likely)}${spread}${wait}`;
}
