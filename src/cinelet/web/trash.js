// Deleting with a way back: nothing is deleted before the time to undo is over.
import { request } from "./api.js";
import { forget } from "./live.js";
import { Store } from "./store.js";
import { complain, toast } from "./toasts.js";

const UNDO_SECONDS = 8;

// The ids of what is about to be deleted; nothing shows them any more.
export const trashed = new Store(new Set());
const waiting = new Map();

function change(id, inside) {
  const ids = new Set(trashed.value);
  if (inside) ids.add(id);
  else ids.delete(id);
  trashed.value = ids;
}

export function trash(generation) {
  const { id } = generation;
  if (waiting.has(id)) return;
  change(id, true);
  waiting.set(id, setTimeout(() => removeNow(id), UNDO_SECONDS * 1000));
  const undo = () => {
    clearTimeout(waiting.get(id));
    waiting.delete(id);
    change(id, false);
  };
  toast("The video is deleted.", { action: { label: "Undo", run: undo }, seconds: UNDO_SECONDS });
}

async function removeNow(id, options) {
  waiting.delete(id);
  try {
    await request("DELETE", `/v1/generations/${encodeURIComponent(id)}`, options);
    forget(id);
  } catch (error) {
    if (error.status === 404) forget(id);
    else complain(error);
  }
  change(id, false);
}

// Whoever closes the tab meant what he said.
addEventListener("pagehide", () => {
  for (const [id, timer] of waiting) {
    clearTimeout(timer);
    removeNow(id, { keepalive: true });
  }
});
