// How models did lately, read again now and then while somebody looks.
import { get, withQuery } from "./api.js";
import { useCallback, useEffect, useState } from "./html.js";
import { epoch } from "./live.js";
import { useStore } from "./store.js";

const EVERY_SECONDS = 30;
export const WINDOWS = [
  ["1h", "Hour"],
  ["24h", "Day"],
  ["7d", "7 days"],
  ["30d", "30 days"],
];
export const USUAL = "24h";

// {stats, error, read}: stats: of the window, or those of another one until they are there; null at first. error: why the
// last reading failed. read: reads now.
export function useStats(window) {
  const [facts, setFacts] = useState({ stats: null, error: null });
  const now = useStore(epoch);

  const read = useCallback(
    async (signal) => {
      try {
        const stats = await get(withQuery("/v1/stats", { window }), { signal });
        setFacts({ stats, error: null });
      } catch (error) {
        if (error.name !== "AbortError") setFacts((before) => ({ ...before, error }));
      }
    },
    [window],
  );

  useEffect(() => {
    const stopping = new AbortController();
    let timer = null;
    async function again() {
      clearTimeout(timer);
      if (document.hidden) return;
      await read(stopping.signal);
      if (!stopping.signal.aborted) timer = setTimeout(again, EVERY_SECONDS * 1000);
    }
    document.addEventListener("visibilitychange", again);
    again();
    return () => {
      document.removeEventListener("visibilitychange", again);
      clearTimeout(timer);
      stopping.abort();
    };
  }, [read, now]);

  return { ...facts, read };
}
