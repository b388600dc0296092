// What was measured, asked, applied and changed: three different things, in one table.
import { html } from "../html.js";
import { bytes, moment, money, parameterName, seconds, shown } from "../format.js";

const CACHE_WORDS = { made: "made anew", hit: "was made before", joined: "shared with an identical request" };

export function Facts({ generation }) {
  const { result, created_at: created, finished_at: finished, id } = generation;
  const facts = result
    ? [
        ["Resolution", result.resolution.replace("x", " × ")],
        ["Duration", seconds(result.duration)],
        ["Frames", `${result.frames} at ${shown(Math.round(result.fps * 100) / 100)} a second`],
        ["File", `${bytes(result.video_size)}, ${result.codec} in ${result.container}${result.has_audio ? ", with sound" : ""}`],
        ["Seed", shown(result.seed)],
        ["Cost", result.cost == null ? "unknown: no price is known for it" : money(result.cost, result.currency)],
        ["Made", CACHE_WORDS[result.cache] ?? shown(result.cache)],
        ["SHA-256", html`<code class="hash">${result.sha256}</code>`],
      ]
    : [];
  const known = [
    ["Model", generation.model ?? generation.requested_model],
    ...facts,
    ["Asked for", moment(created)],
    ...(finished ? [["Ended", `${moment(finished)}, after ${seconds(finished - created)}`]] : []),
    ["Name", html`<code>${id}</code>`],
  ];
  return html`<dl class="facts">
    ${known.map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}
  </dl>`;
}

const NOT_PARAMETERS = new Set(["task", "prompt", "image", "model"]);
// What follows from the parameters, and cannot be asked for.
const FOLLOWS = new Set(["frames_made", "native_fps"]);

// One row a parameter: what was asked, what was applied, and why the two differ.
export function AskedAndApplied({ generation }) {
  const { request, result, adjustments } = generation;
  const applied = result?.applied ?? {};
  const changes = new Map(adjustments.map((change) => [change.parameter, change]));
  const names = [...new Set([...Object.keys(request), ...changes.keys(), ...Object.keys(applied)])].filter(
    (name) => !NOT_PARAMETERS.has(name) || changes.has(name),
  );
  if (!names.length) return null;
  return html`<div class="table-frame" tabindex="0" role="group" aria-label="Parameters">
    <table>
      <caption class="unseen">What was asked, what was applied, and what was changed</caption>
      <thead>
        <tr><th scope="col">Parameter</th><th scope="col">Asked</th><th scope="col">Applied</th><th scope="col">Why it differs</th></tr>
      </thead>
      <tbody>
        ${names.map((name) => {
          const change = changes.get(name);
          const asked = change ? change.requested : request[name];
          const did = change ? change.applied : (applied[name] ?? (result ? request[name] : undefined));
          return html`<tr key=${name} class=${change ? "changed" : ""}>
            <th scope="row">${parameterName(name)}</th>
            <td>${asked === undefined ? html`<span class="muted">${FOLLOWS.has(name) ? "–" : "the default"}</span>` : shown(asked)}</td>
            <td>${did === undefined || did === null ? html`<span class="muted">${change ? "no effect" : "–"}</span>` : shown(did)}</td>
            <td>${change ? change.reason : ""}</td>
          </tr>`;
        })}
      </tbody>
    </table>
  </div>`;
}
