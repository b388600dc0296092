// What the form holds: it lives through a reload, and through a look at another view.
import { request } from "./api.js";
import { Store, remembered } from "./store.js";

// Values as the HTTP interface names them; what is not there, the model decides.
export const draft = remembered("cinelet.draft", { values: {}, current: null });
// The image, a File; only as long as the page is there.
export const draftImage = new Store(null);

export function setValue(name, value) {
  const values = { ...draft.value.values };
  if (value === undefined || value === null || value === "" || Number.isNaN(value)) delete values[name];
  else values[name] = value;
  draft.value = { ...draft.value, values };
}

export function setCurrent(id) {
  draft.value = { ...draft.value, current: id };
}

// The values of a generation, for the form or to be sent again. keepSeed: whether it is to come out the same.
export function valuesOf(generation, { keepSeed }) {
  const { task: _task, image: _image, ...values } = generation.request;
  delete values.cache;
  values.model = generation.requested_model;
  const seed = generation.result?.seed ?? values.seed;
  if (keepSeed && seed !== undefined && seed !== null) values.seed = seed;
  else delete values.seed;
  return values;
}

// The image that a generation began with, as a File, or null where there was none. Raises ApiError.
export async function imageOf(generation) {
  if (!generation.links.image) return null;
  const response = await request("GET", generation.links.image);
  const blob = await response.blob();
  return new File([blob], `image.${blob.type.split("/")[1] ?? "png"}`, { type: blob.type });
}

export async function edit(generation) {
  draftImage.value = await imageOf(generation);
  draft.value = { values: valuesOf(generation, { keepSeed: true }), current: generation.id };
}
