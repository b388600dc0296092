// What makes it again, to copy.
import { caller } from "../api.js";
import { html, useRef, useState } from "../html.js";
import { SNIPPETS } from "../snippets.js";
import { useStore } from "../store.js";
import { announce, toast } from "../toasts.js";

export function SnippetTabs({ values, image }) {
  const names = Object.keys(SNIPPETS);
  const [current, setCurrent] = useState(names[0]);
  const tabs = useRef();
  const needsKey = useStore(caller).needs_key;
  const text = SNIPPETS[current](values, { image, origin: location.origin, needsKey });

  function pressed(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const next = names[(names.indexOf(current) + step + names.length) % names.length];
    setCurrent(next);
    tabs.current.querySelector(`[data-name="${next}"]`).focus();
  }

  async function copy() {
    try {
      await navigator.clipboard.writeText(text);
      announce("Copied");
      toast("Copied.", { seconds: 2 });
    } catch {
      toast("The browser does not let this page copy; mark the text instead.");
    }
  }

  return html`<div class="snippets">
    <div class="tabs">
      <div role="tablist" aria-label="As a program" ref=${tabs} onKeyDown=${pressed}>
      ${names.map(
        (name) => html`<button
          type="button"
          role="tab"
          key=${name}
          id=${`tab-${name.replaceAll(" ", "-")}`}
          data-name=${name}
          aria-selected=${name === current ? "true" : "false"}
          aria-controls="snippet"
          tabindex=${name === current ? 0 : -1}
          onClick=${() => setCurrent(name)}
        >
          ${name}
        </button>`,
      )}
      </div>
      <button type="button" class="copy" onClick=${copy}>Copy</button>
    </div>
    <pre id="snippet" role="tabpanel" tabindex="0" aria-labelledby=${`tab-${current.replaceAll(" ", "-")}`}>${text}</pre>
  </div>`;
}
