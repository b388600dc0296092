// When something was, which is said anew while time passes.
import { ago, moment } from "../format.js";
import { html, useEffect } from "../html.js";
import { Store, useStore } from "../store.js";

const TURN_SECONDS = 30;

const turn = new Store(0);
let shown = 0;
let timer = null;

export function When({ at }) {
  useStore(turn);
  useEffect(() => {
    shown += 1;
    timer ??= setInterval(() => {
      turn.value += 1;
    }, TURN_SECONDS * 1000);
    return () => {
      shown -= 1;
      if (shown) return;
      clearInterval(timer);
      timer = null;
    };
  }, []);
  return html`<time datetime=${new Date(at * 1000).toISOString()} title=${moment(at)}>${ago(at)}</time>`;
}
