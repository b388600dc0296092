// What can be done with a generation.
import { caller, post } from "../api.js";
import { useBusy } from "../busy.js";
import { draftImage, edit, setCurrent, setValue } from "../draft.js";
import { html, useState } from "../html.js";
import { isFinal, remember } from "../live.js";
import { makeAgain } from "../making.js";
import { fetchBlob, lastFrame, save } from "../media.js";
import { goTo } from "../router.js";
import { useStore } from "../store.js";
import { complain } from "../toasts.js";
import { trash } from "../trash.js";

export function Cancel({ generation }) {
  const { role } = useStore(caller);
  const [asked, setAsked] = useState(false);
  if (role === "read" || isFinal(generation)) return null;
  async function cancel() {
    setAsked(true);
    try {
      remember(await post(`/v1/generations/${encodeURIComponent(generation.id)}/cancel`));
    } catch (error) {
      setAsked(false);
      complain(error);
    }
  }
  const cancelling = asked || generation.cancel_requested;
  return html`<button type="button" disabled=${cancelling} onClick=${cancel}>${cancelling ? "Cancelling…" : "Cancel"}</button>`;
}

// onMade: is given what was begun. brief: without what needs no place beside the form.
export function NextActions({ generation, onMade, brief = false }) {
  const { role } = useStore(caller);
  const [busy, doing] = useBusy();
  const completed = generation.state === "completed";
  const may = role !== "read";

  const again = (keepSeed) => doing(async () => onMade(await makeAgain(generation, { keepSeed })));
  const animate = () =>
    doing(async () => {
      draftImage.value = await lastFrame(generation.links.video);
      setValue("seed", undefined);
      setValue("model", generation.requested_model);
      setValue("prompt", generation.request.prompt);
      setCurrent(null);
      goTo("make");
    });
  const change = () =>
    doing(async () => {
      await edit(generation);
      goTo("make");
    });
  const download = () =>
    doing(async () => save(await fetchBlob(generation.links.video), `${generation.id}.${generation.result.container}`));
  return html`<div class="buttons actions">
    ${completed && html`<button type="button" disabled=${busy} onClick=${download}>Download</button>`}
    ${may && html`<button type="button" disabled=${busy} onClick=${() => again(true)} title="The same once more, with the same seed">Again</button>`}
    ${may && completed && html`<button type="button" disabled=${busy} onClick=${() => again(false)} title="The same with another seed">Vary the seed</button>`}
    ${may && completed && html`<button type="button" disabled=${busy} onClick=${animate} title="Begin a new video where this one ends">Animate the last frame</button>`}
    ${may && !brief && html`<button type="button" disabled=${busy} onClick=${change} title="Take its values into the form">Change and make</button>`}
    ${may && html`<button type="button" class="danger" onClick=${() => trash(generation)}>Delete</button>`}
  </div>`;
}
