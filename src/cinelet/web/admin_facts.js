// What administrators see, read again every few seconds while somebody looks.
import { get } from "./api.js";
import { useCallback, useEffect, useState } from "./html.js";
import { epoch } from "./live.js";
import { useStore } from "./store.js";

export const EVERY_SECONDS = 5;
const PARTS = ["queue", "workers", "keys", "failures"];

// {queue, workers, keys, failures}: each null until it is read, and kept while it cannot be read again; readAt: when all
// of them were read last, in milliseconds; error: why the last reading failed; read: reads now.
export function useAdmin() {
  const [facts, setFacts] = useState({ readAt: null, error: null });
  const now = useStore(epoch);

  const read = useCallback(async (signal) => {
    const readings = await Promise.allSettled(PARTS.map((part) => get(`/v1/admin/${part}`, { signal })));
    if (signal?.aborted) return;
    const failed = readings.find(({ status }) => status === "rejected")?.reason ?? null;
    setFacts((before) => {
      const next = { ...before, error: failed, readAt: failed ? before.readAt : Date.now() };
      readings.forEach(({ status, value }, index) => {
        if (status === "fulfilled") next[PARTS[index]] = value.data ?? value;
      });
      return next;
    });
  }, []);

  useEffect(() => {
    const stopping = new AbortController();
    let timer = null;
    let last = 0;
    async function again() {
      clearTimeout(timer);
      if (document.hidden) return;
      last = performance.now();
      await read(stopping.signal);
      if (!stopping.signal.aborted) timer = setTimeout(again, EVERY_SECONDS * 1000);
    }
    function seen() {
      if (!document.hidden && performance.now() - last > EVERY_SECONDS * 1000) again();
    }
    document.addEventListener("visibilitychange", seen);
    again();
    return () => {
      document.removeEventListener("visibilitychange", seen);
      clearTimeout(timer);
      stopping.abort();
    };
  }, [read, now]);

  return { ...facts, read };
}
