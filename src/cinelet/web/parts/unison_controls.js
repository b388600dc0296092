// One set of controls for several videos.
import { seconds } from "../format.js";
import { html } from "../html.js";
import { useStore } from "../store.js";

const RATES = [0.25, 0.5, 1, 1.5, 2];

// fps: of the video that has the most frames a second: the others have none in between.
export function UnisonControls({ unison, fps }) {
  const { playing, time, duration, ready, rate, loop } = useStore(unison.state);
  const frames = Math.max(1, Math.round(duration * fps));
  const frame = Math.min(frames - 1, Math.floor(time * fps + 0.01));
  // To the middle of a frame: at its very beginning, some players still show the one before.
  const show = (number) => {
    if (playing) unison.pause();
    unison.seek((Math.max(0, Math.min(frames - 1, number)) + 0.5) / fps);
  };
  const said = `Frame ${frame + 1} of ${frames}, ${seconds(time)}`;
  return html`<div class="unison card" role="group" aria-label="Play all in step">
    <button type="button" class="primary" disabled=${!ready} onClick=${() => (playing ? unison.pause() : unison.play())}>
      ${playing ? "Pause" : "Play"}
    </button>
    <div class="buttons">
      <button type="button" class="icon" disabled=${!ready} aria-label="One frame back" title="One frame back" onClick=${() => show(frame - 1)}>‹</button>
      <button type="button" class="icon" disabled=${!ready} aria-label="One frame on" title="One frame on" onClick=${() => show(frame + 1)}>›</button>
    </div>
    <input
      type="range"
      aria-label="Place in the videos"
      aria-valuetext=${said}
      min="0"
      max=${frames - 1}
      step="1"
      disabled=${!ready}
      value=${frame}
      onInput=${(event) => show(event.target.valueAsNumber)}
    />
    <output class="unison-time">${said}</output>
    <label class="check">
      Speed
      <select
        value=${String(rate)}
        onChange=${(event) => {
          unison.rate = Number(event.target.value);
        }}
      >
        ${RATES.map((one) => html`<option value=${String(one)}>${one} ×</option>`)}
      </select>
    </label>
    <label class="check">
      <input
        type="checkbox"
        checked=${loop}
        onChange=${(event) => {
          unison.loop = event.target.checked;
        }}
      />
      Loop
    </label>
  </div>`;
}
