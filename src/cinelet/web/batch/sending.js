// Sending a batch, once: the same batch has the same key until it is known to have arrived.
import { newIdempotencyKey, post } from "../api.js";
import { imageOf, valuesOf } from "../draft.js";
import { remembered } from "../store.js";

const underWay = remembered("cinelet.batch.sending", null);

// Returns the batch. Raises ApiError.
export async function sendBatch(requests, metadata) {
  const body = { requests, metadata };
  const print = fingerprint(JSON.stringify(body));
  if (underWay.value?.print !== print) underWay.value = { print, key: newIdempotencyKey() };
  const batch = await post("/v1/batches", body, { idempotencyKey: underWay.value.key });
  underWay.value = null;
  return batch;
}

// Tells bodies apart; crypto.subtle is not there where the page came over plain HTTP from another machine.
function fingerprint(text) {
  let one = 0xdeadbeef;
  let other = 0x41c6ce57;
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    one = Math.imul(one ^ code, 2654435761);
    other = Math.imul(other ^ code, 1597334677);
  }
  return [text.length, one >>> 0, other >>> 0].join("-");
}

// Sends lines again as a batch of their own; lines: of generations that ended without a video.
export async function sendAgain(batch, lines) {
  const requests = [];
  for (const { custom_id: name, generation } of lines) {
    const values = valuesOf(generation, { keepSeed: true });
    const image = await imageOf(generation);
    if (image) values.image = await dataUri(image);
    if (name) values.custom_id = name;
    requests.push(values);
  }
  const metadata = { again_of: batch.id, name: `${(batch.metadata.name ?? "A batch").slice(0, 400)}, once more` };
  return sendBatch(requests, metadata);
}

function dataUri(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}
