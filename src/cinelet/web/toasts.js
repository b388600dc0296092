// Short messages at the edge of the page, read aloud by screen readers, some with a button.
import { html } from "./html.js";
import { Store, useStore } from "./store.js";

const SHOWN_SECONDS = 6;
const toasts = new Store([]);
let number = 0;

// Shows a message. action: {label, run}, a button of it. Returns what takes it away.
export function toast(text, { kind = "info", action = null, seconds = SHOWN_SECONDS } = {}) {
  number += 1;
  const id = number;
  const takeAway = () => {
    toasts.value = toasts.value.filter((one) => one.id !== id);
  };
  toasts.value = [...toasts.value, { id, text, kind, action, takeAway }];
  setTimeout(takeAway, seconds * 1000);
  return takeAway;
}

export function complain(error) {
  if (error.name === "AbortError") return;
  toast(error.message, { kind: "error", seconds: 10 });
}

export function Toasts() {
  return html`<div class="toasts" role="status" aria-live="polite">
    ${useStore(toasts).map(
      ({ id, text, kind, action, takeAway }) => html`<div key=${id} class="toast ${kind}">
        <span>${text}</span>
        ${action &&
        html`<button
          type="button"
          onClick=${() => {
            takeAway();
            action.run();
          }}
        >
          ${action.label}
        </button>`}
        <button type="button" class="quiet" aria-label="Close" onClick=${takeAway}>×</button>
      </div>`,
    )}
  </div>`;
}

const announced = new Store("");

// Says something to screen readers alone.
export function announce(text) {
  announced.value = text;
}

export function Announcer() {
  return html`<p class="unseen" role="status" aria-live="polite" data-announcer>${useStore(announced)}</p>`;
}
