// What several models can do here, each read once for the view that needs them.
import { get } from "../api.js";
import { useEffect, useState } from "../html.js";

// A map of what is known by now, from a model to {facts, error}.
export function useFacts(models) {
  const [known, setKnown] = useState(new Map());
  const wanted = JSON.stringify(models);
  useEffect(() => {
    const reading = new AbortController();
    for (const model of models.filter((one) => one && !known.has(one))) {
      const path = `/v1/models/${model.split("/").map(encodeURIComponent).join("/")}`;
      const learn = (found) => setKnown((before) => new Map(before).set(model, found));
      get(path, { signal: reading.signal })
        .then((facts) => learn({ facts, error: null }))
        .catch((error) => error.name !== "AbortError" && learn({ facts: null, error }));
    }
    return () => reading.abort();
  }, [wanted]);
  return known;
}
