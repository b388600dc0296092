// What generations are now: one event stream for the tab, and whatever was read. It connects again by itself.
import { ApiError, caller, get } from "./api.js";
import { useEffect, useReducer, useState } from "./html.js";
import { eventStream } from "./event_stream.js";
import { Store, useStore } from "./store.js";

const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 10_000;
// A browser opens six connections to a service for all its tabs together: a tab that nobody sees gives its own back.
const HIDDEN_SECONDS = 60;
const POSITION_SECONDS = 2;

// Grows whenever something may have been missed; whoever shows something reads it again.
export const epoch = new Store(0);
// "connecting", "open" or "lost".
export const connection = new Store("connecting");

const generations = new Map();
const hears = new Map();
const hearsOfAll = new Set();

export function isFinal(generation) {
  return ["completed", "failed", "cancelled"].includes(generation.state);
}

// Takes generations that were read, so that all who show one show the same.
export function remember(...read) {
  for (const generation of read) {
    const before = generations.get(generation.id);
    // An answer may be older than an event that came before it, and after an end no event comes to correct it.
    if (before && isFinal(before) && !isFinal(generation)) continue;
    generations.set(generation.id, generation);
    tell(generation.id, generation);
  }
}

export function known(id) {
  return generations.get(id);
}

export function forget(id) {
  generations.delete(id);
  tell(id, null);
}

// Calls hear(id, generation): of each change of any generation; generation is null where it was deleted, and undefined
// where nothing but that it has changed is known. Returns what ends that.
export function onChange(hear) {
  hearsOfAll.add(hear);
  return () => hearsOfAll.delete(hear);
}

// Calls hear(id, generation) of each change of one generation; returns what ends that.
function onChangeOf(id, hear) {
  if (!hears.has(id)) hears.set(id, new Set());
  hears.get(id).add(hear);
  return () => {
    hears.get(id).delete(hear);
    if (!hears.get(id).size) hears.delete(id);
  };
}

function tell(id, generation) {
  for (const hear of [...(hears.get(id) ?? []), ...hearsOfAll]) hear(id, generation);
}

function heard({ id, generation, ...change }) {
  if (generation) {
    remember(generation);
    return;
  }
  const before = generations.get(id);
  if (before && !isFinal(before)) {
    const { state, progress, stage, step, steps, eta_seconds, note, position = null, preview = null } = change;
    const links = { ...before.links, preview };
    remember({ ...before, state, progress, stage, step, steps, eta_seconds, note, position, links });
  } else if (!before) {
    tell(id, undefined);
  }
}

export async function read(id, options) {
  const generation = await get(`/v1/generations/${encodeURIComponent(id)}`, options);
  remember(generation);
  return generation;
}

// A generation by its id, kept current: {generation, error}.
export function useGeneration(id) {
  const [shown, show] = useState({ id, generation: known(id), error: null });
  const now = useStore(epoch);
  useEffect(() => {
    if (!id) return undefined;
    const hear = (_, generation) => show({ id, generation, error: null });
    const end = onChangeOf(id, hear);
    const reading = new AbortController();
    read(id, { signal: reading.signal }).catch((error) => {
      // The service may be away for a while: what was known is shown meanwhile, and read again when it is back.
      if (error instanceof ApiError && (error.status !== 0 || !known(id))) show({ id, generation: known(id), error });
    });
    return () => {
      reading.abort();
      end();
    };
  }, [id, now]);
  const { generation, error } = shown.id === id ? shown : { generation: known(id), error: null };
  const waits = generation?.state === "queued";
  useEffect(() => {
    // What goes before it ends without a word to it.
    if (!waits) return undefined;
    const timer = setInterval(() => read(id).catch(() => {}), POSITION_SECONDS * 1000);
    return () => clearInterval(timer);
  }, [id, waits]);
  return { generation, error };
}

// A generation as it is known, kept current, and not asked for: for lists, which are read many at once.
export function useKnown(id) {
  const [, drawAgain] = useReducer((count) => count + 1, 0);
  const generation = known(id);
  useEffect(() => {
    const end = onChangeOf(id, drawAgain);
    if (known(id) !== generation) drawAgain();
    return end;
  }, [id]);
  return generation;
}

function pause(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

function anythingRuns() {
  return [...generations.values()].some((generation) => hears.has(generation.id) && !isFinal(generation));
}

// Listens for as long as the page is there.
export async function listen() {
  let wait = FIRST_PAUSE;
  while (true) {
    await signedIn();
    await seen();
    const stopping = new AbortController();
    const stopWhenUnseen = unseen(stopping);
    try {
      for await (const { name, data } of eventStream("/v1/events", { signal: stopping.signal })) {
        wait = FIRST_PAUSE;
        if (name === "generation") heard(data);
        if (name === "ready" || name === "gap") {
          connection.value = "open";
          epoch.value += 1;
        }
      }
    } catch {
      // Whatever ended it, we ask again.
    }
    stopWhenUnseen();
    if (stopping.signal.aborted) continue;
    connection.value = "lost";
    await pause(wait * (0.5 + Math.random()));
    wait = Math.min(2 * wait, LONGEST_PAUSE);
  }
}

function until(holds, subscribe) {
  if (holds()) return Promise.resolve();
  return new Promise((resolve) => {
    const end = subscribe(() => {
      if (!holds()) return;
      end();
      resolve();
    });
  });
}

function signedIn() {
  return until(() => caller.value !== null && caller.value !== "unknown", (hear) => caller.subscribe(hear));
}

function onVisibility(hear) {
  document.addEventListener("visibilitychange", hear);
  return () => document.removeEventListener("visibilitychange", hear);
}

function seen() {
  return until(() => !document.hidden, onVisibility);
}

// Aborts when the tab has been out of sight for long and nothing of it goes on, or when we are nobody any more.
function unseen(stopping) {
  let hiddenSince = document.hidden ? performance.now() : null;
  const endVisibility = onVisibility(() => {
    hiddenSince = document.hidden ? performance.now() : null;
  });
  const endCaller = caller.subscribe((who) => who === "unknown" && stopping.abort());
  const timer = setInterval(() => {
    const long = hiddenSince !== null && performance.now() - hiddenSince > HIDDEN_SECONDS * 1000;
    if (long && !anythingRuns()) stopping.abort();
  }, 5000);
  return () => {
    endVisibility();
    endCaller();
    clearInterval(timer);
  };
}
