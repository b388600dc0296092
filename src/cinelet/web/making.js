// Asking for a video, by whatever the page offers: the form, an example, "again".
import { newIdempotencyKey, request } from "./api.js";
import { imageOf, valuesOf } from "./draft.js";
import { remember } from "./live.js";
import { expect } from "./notices.js";

// Makes a video of values and an image, if there is one; returns the generation. Raises ApiError.
export async function make(values, image = null) {
  const sent = { idempotencyKey: newIdempotencyKey() };
  let path = "/v1/text-to-video";
  if (image) {
    path = "/v1/image-to-video";
    sent.form = new FormData();
    for (const [name, value] of Object.entries(values)) sent.form.set(name, typeof value === "object" ? JSON.stringify(value) : value);
    sent.form.set("image", image, image.name || "image");
  } else {
    const { image_fit: _unused, ...rest } = values;
    sent.json = rest;
  }
  const generation = await (await request("POST", path, sent)).json();
  remember(generation);
  expect(generation.id);
  return generation;
}

// Makes it once more, with the same seed or with another. What is there already is not the answer.
export async function makeAgain(generation, { keepSeed }) {
  const values = { ...valuesOf(generation, { keepSeed }), cache: "refresh" };
  return make(values, await imageOf(generation));
}
