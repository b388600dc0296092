// How long a video will take, by what was measured here.
import { post } from "./api.js";
import { money, seconds } from "./format.js";
import { useEffect, useState } from "./html.js";

const PAUSE = 300;
const NOTHING = { text: "", basis: "" };

// The estimate of values, in words; text: "" until there is one. basis: what it is founded on.
export function useEstimate(values, ready) {
  return useSaid(values, ready, async (signal) => {
    try {
      const estimate = await post("/v1/estimate", values, { signal });
      return { text: [inWords(estimate), ...aboutModel(estimate)].join(" · "), basis: `${estimate.basis}; ${estimate.cost_basis}` };
    } catch (error) {
      // What nothing fits will be refused: better said before than after.
      if (error.code === "no_model_fits") return { text: error.message, basis: "" };
      throw error;
    }
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

// What is to be said of the model and the cost, where there is a choice, or a price.
function aboutModel({ requested_model: asked, model, why, order, cost, currency }) {
  const chosen = model !== asked || order.length > 1 ? [`by ${model} (${why})`] : [];
  return cost === null ? chosen : [...chosen, `costs about ${money(cost, currency)}`];
}

// many: how many videos that is, made one after another.
export function inWords({ seconds: likely, low, high, samples, waiting }, { many = 1 } = {}) {
  if (!samples || likely === null) return "Nothing was measured yet, so nobody knows how long it takes.";
  const spread = seconds(low) === seconds(high) ? "" : ` (${seconds(low)} to ${seconds(high)})`;
  const wait = waiting > 1 ? `, after ${seconds(waiting)} of waiting` : "";
  return `About ${seconds(likely)}${many > 1 ? " one after another" : ""}${spread}${wait}`;
}
