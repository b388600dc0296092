// Which models there are, and what one can do: read once, and again when the connection was lost.
import { get } from "./api.js";
import { useEffect, useState } from "./html.js";
import { epoch } from "./live.js";
import { useStore } from "./store.js";

// The models of the list: null until it is read.
export function useModels() {
  const [models, setModels] = useState(null);
  const now = useStore(epoch);
  useEffect(() => {
    const reading = new AbortController();
    get("/v1/models", { signal: reading.signal })
      .then(({ data }) => setModels(data))
      .catch(() => {});
    return () => reading.abort();
  }, [now]);
  return models;
}

// What a model can do here: {facts, error, model}. facts: null until they are known.
export function useModel(model) {
  const [shown, show] = useState({ model: null, facts: null, error: null });
  const now = useStore(epoch);
  useEffect(() => {
    if (!model) return undefined;
    const reading = new AbortController();
    const path = `/v1/models/${model.split("/").map(encodeURIComponent).join("/")}`;
    get(path, { signal: reading.signal })
      .then((facts) => show({ model, facts, error: null }))
      .catch((error) => error.name !== "AbortError" && show({ model, facts: null, error }));
    return () => reading.abort();
  }, [model, now]);
  return shown.model === model ? shown : { model, facts: null, error: null };
}

// The model that is meant where none is named, for a task.
export function defaultModel(models, task) {
  const [first] = models ?? [];
  return models?.find(({ roles }) => roles.includes(`default for ${task}`))?.id ?? first?.id ?? null;
}
