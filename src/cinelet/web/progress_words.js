// How far a generation is, for the tab's title and for screen readers.
import { stage } from "./format.js";
import { useEffect } from "./html.js";
import { isFinal } from "./live.js";

const NAME = "cinelet";

export function useTitle(generation) {
  useEffect(() => {
    document.title = titleOf(generation);
    return () => {
      document.title = NAME;
    };
  });
}

export function titleOf(generation) {
  if (!generation) return NAME;
  const prompt = (generation.request.prompt ?? "a video").slice(0, 40);
  if (generation.state === "in_progress") return `${Math.floor(generation.progress * 100)} % ${prompt} – ${NAME}`;
  const sign = { completed: "✓", failed: "✗", cancelled: "✗", queued: "…" }[generation.state];
  return `${sign} ${prompt} – ${NAME}`;
}

export function announceOf(generation) {
  if (isFinal(generation)) return { completed: "The video is ready", failed: "The video could not be made", cancelled: "Cancelled" }[generation.state];
  return stage({ ...generation, steps: 0, position: undefined });
}
