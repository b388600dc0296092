// The prompts of a batch: written or pasted, one a line, or out of a file.
import { change } from "../batch/draft.js";
import { isText, linesOfFile, linesOfText } from "../batch/lines.js";
import { count, parameterName, shown } from "../format.js";
import { html, useId, useRef, useState } from "../html.js";
import { announce } from "../toasts.js";

const PREVIEWED = 20;

export function LinesInput({ draft, plan, examples }) {
  const id = useId();
  const input = useRef();
  const text = useRef();
  // What goes away with its button leaves whoever pressed it at the text.
  const back = () => text.current.focus();
  const [over, setOver] = useState(false);
  const [problem, setProblem] = useState(null);

  async function take(file) {
    if (!file) return;
    try {
      const { name, lines, unknown } = await linesOfFile(file);
      setProblem(unknown.length ? `${name}: no parameter is called ${unknown.join(", ")}; left out.` : null);
      if (isText(lines)) {
        const before = draft.text.trim() ? `${draft.text.trimEnd()}\n` : "";
        change({ text: `${before}${lines.map(({ prompt }) => prompt.trim()).join("\n")}\n` });
      } else change({ file: { name, lines } });
      announce(`${name}: ${count(lines.length, "line")}`);
    } catch (error) {
      setProblem(error.message);
    }
  }

  function dropped(event) {
    event.preventDefault();
    setOver(false);
    take(event.dataTransfer.files[0]);
  }

  const said = plan.rows.length ? count(plan.rows.length, draft.matrix ? "prompt" : "line") : "";
  return html`<div
    class="field lines-input ${over ? "over" : ""}"
    onDragOver=${(event) => {
      event.preventDefault();
      setOver(true);
    }}
    onDragLeave=${() => setOver(false)}
    onDrop=${dropped}
  >
    <div class="label-line"><label for=${id}>Prompts, one a line</label><output for=${id}>${said}</output></div>
    <textarea
      id=${id}
      ref=${text}
      rows="8"
      aria-describedby="${id}-hint"
      placeholder=${examples.length ? examples.slice(0, 3).join("\n") : "A fox runs through fresh snow\nWaves at night, seen from a pier"}
      value=${draft.text}
      onInput=${(event) => change({ text: event.target.value })}
    ></textarea>
    <div class="buttons">
      <button type="button" onClick=${() => input.current.click()}>Choose a file</button>
      <p class="hint" id="${id}-hint">or drop it here: .txt, .csv or .jsonl. Blank lines are ignored.</p>
    </div>
    <input
      ref=${input}
      class="unseen"
      type="file"
      tabindex="-1"
      aria-label="A file of prompts"
      accept=".txt,.csv,.tsv,.jsonl,.ndjson"
      onChange=${(event) => {
        take(event.target.files[0]);
        event.target.value = "";
      }}
    />
    ${problem && html`<p class="error" role="alert">${problem}</p>`}
    ${plan.repeats > 0 && html`<${Repeats} draft=${draft} repeats=${plan.repeats} onDone=${back} />`}
    ${draft.file && html`<${FileLines} file=${draft.file} matrix=${draft.matrix} onDone=${back} />`}
  </div>`;
}

function Repeats({ draft, repeats, onDone }) {
  const once = (lines) => [...new Map(lines.map((line) => [JSON.stringify(line), line])).values()];
  function leaveOut() {
    const lines = once(linesOfText(draft.text));
    const written = new Set(lines.map((line) => JSON.stringify(line)));
    const file = draft.file && { ...draft.file, lines: once(draft.file.lines).filter((line) => !written.has(JSON.stringify(line))) };
    change({ text: lines.map(({ prompt }) => `${prompt}\n`).join(""), file: file?.lines.length ? file : null });
    onDone();
  }
  return html`<div class="buttons repeats" role="status">
    <p class="hint">${repeats === 1 ? "One line says what another one says" : `${repeats.toLocaleString()} lines say what others say`}; each is made.</p>
    <button type="button" onClick=${leaveOut}>Leave out the repeats</button>
  </div>`;
}

// Lines that have values of their own, which a text cannot show.
function FileLines({ file, matrix, onDone }) {
  function remove() {
    change({ file: null });
    onDone();
  }

  const names = [...new Set(file.lines.slice(0, PREVIEWED).flatMap((line) => (typeof line === "string" ? [] : Object.keys(line))))];
  const columns = ["prompt", ...names.filter((name) => name !== "prompt")];
  return html`<div class="file-lines">
    <div class="buttons">
      <p><strong>${file.name}</strong>: ${count(file.lines.length, "line")} with values of their own</p>
      <button type="button" onClick=${remove}>Remove</button>
    </div>
    ${matrix && html`<p class="hint">Seeds and models are those of the matrix.</p>`}
    <details>
      <summary>Look at ${file.lines.length > PREVIEWED ? `the first ${PREVIEWED}` : "them"}</summary>
      <div class="table-scroll" tabindex="0" role="region" aria-label="Lines of ${file.name}">
        <table class="plain">
          <thead>
            <tr><th scope="col">Line</th>${columns.map((name) => html`<th scope="col">${parameterName(name)}</th>`)}</tr>
          </thead>
          <tbody>
            ${file.lines.slice(0, PREVIEWED).map(
              (line, index) => html`<tr>
                <th scope="row">${index + 1}</th>
                ${typeof line === "string"
                  ? html`<td colspan=${columns.length}><span class="badge failed">not JSON</span> ${line.slice(0, 120)}</td>`
                  : columns.map((name) => html`<td>${line[name] === undefined ? "" : shown(line[name]).slice(0, 120)}</td>`)}
              </tr>`,
            )}
          </tbody>
        </table>
      </div>
    </details>
  </div>`;
}
