// Where the time went, as bars.
import { html } from "../html.js";
import { seconds } from "../format.js";

const WORDS = {
  waiting: "Waiting",
  loading: "Loading",
  denoising: "Drawing",
  decoding: "Decoding",
  encoding: "Writing",
  downloading: "Downloading",
  probing: "Measuring",
};

export function Timings({ generation }) {
  const { created_at: created, started_at: started, result } = generation;
  const spent = Object.entries(result?.timings ?? {});
  if (started) spent.unshift(["waiting", started - created]);
  if (result) {
    // What no stage counts: to start a process, to store.
    const known = Object.values(result.timings ?? {}).reduce((sum, one) => sum + one, 0);
    const rest = result.generation_time - known;
    if (rest > 0.05) spent.push(["everything else", rest]);
  }
  const longest = Math.max(...spent.map(([, value]) => value), 0.001);
  if (!spent.length) return null;
  return html`<dl class="timings">
    ${spent.map(
      ([name, value]) => html`<div key=${name}>
        <dt>${WORDS[name] ?? name}</dt>
        <dd>
          <span class="bar" aria-hidden="true"><span style=${{ width: `${Math.max(0.5, (value / longest) * 100)}%` }}></span></span>
          ${seconds(value)}
        </dd>
      </div>`,
    )}
  </dl>`;
}
