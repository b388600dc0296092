// The shape of a batch's pictures, so that nothing jumps when the first of them comes.
import { useModel } from "../models.js";
import { useStore } from "../store.js";

const UNKNOWN = "4 / 3";

// As CSS has it: what was asked, the model's own, or that of the first video.
export function useShape(watched) {
  const made = useStore(watched.shape);
  const numbers = useStore(watched.numbers);
  const first = numbers.map((number) => watched.lines.get(number).value.generation).find(Boolean);
  const { width, height } = first?.request ?? {};
  const { facts } = useModel(made || width ? null : first?.requested_model);
  if (made) return made;
  if (width && height) return shapeOf(width, height);
  return facts?.default_size ? shapeOf(...facts.default_size) : UNKNOWN;
}

// Neither a strip nor a tower.
export function shapeOf(width, height) {
  return String(Math.min(2, Math.max(0.6, width / height)));
}
