// An image by file, drop or paste, with a preview.
import { html, useEffect, useId, useRef, useState } from "../html.js";
import { bytes } from "../format.js";

const KINDS = ["image/png", "image/jpeg", "image/webp"];

export function ImageInput({ image, onImage, maxBytes, error }) {
  const id = useId();
  const [over, setOver] = useState(false);
  const [problem, setProblem] = useState(null);
  const input = useRef();
  const preview = usePreview(image);

  function take(file) {
    if (!file) return;
    if (!KINDS.includes(file.type)) {
      setProblem(`${file.name || "This"} is no PNG, JPEG or WebP image.`);
    } else if (file.size > maxBytes) {
      setProblem(`${file.name || "This image"} has ${bytes(file.size)}; at most ${bytes(maxBytes)} are taken.`);
    } else {
      setProblem(null);
      onImage(file);
    }
  }

  useEffect(() => {
    function pasted(event) {
      const file = [...(event.clipboardData?.files ?? [])].find((one) => one.type.startsWith("image/"));
      if (!file) return;
      event.preventDefault();
      take(file);
    }
    document.addEventListener("paste", pasted);
    return () => document.removeEventListener("paste", pasted);
  });

  function dropped(event) {
    event.preventDefault();
    setOver(false);
    take(event.dataTransfer.files[0]);
  }

  const said = problem ?? error;
  return html`<div
    class="image-input ${over ? "over" : ""}"
    onDragOver=${(event) => {
      event.preventDefault();
      setOver(true);
    }}
    onDragLeave=${() => setOver(false)}
    onDrop=${dropped}
  >
    <label for=${id}>Begin with an image <span class="muted">(optional)</span></label>
    <input
      id=${id}
      ref=${input}
      class="unseen"
      type="file"
      accept=${KINDS.join(",")}
      aria-describedby=${said ? `${id}-error` : `${id}-hint`}
      onChange=${(event) => {
        take(event.target.files[0]);
        event.target.value = "";
      }}
    />
    ${image
      ? html`<div class="image-preview">
          ${preview && html`<img src=${preview} alt="The image that the video begins with" />`}
          <div>
            <p class="file-name">${image.name}</p>
            <p class="hint">${bytes(image.size)}</p>
            <div class="buttons">
              <button type="button" onClick=${() => input.current.click()}>Change</button>
              <button type="button" onClick=${() => onImage(null)}>Remove</button>
            </div>
          </div>
        </div>`
      : html`<div class="drop">
          <button type="button" onClick=${() => input.current.click()}>Choose a file</button>
          <p class="hint" id=${`${id}-hint`}>or drop it here, or paste it</p>
        </div>`}
    ${said && html`<p class="error" id=${`${id}-error`} role="alert">${said}</p>`}
  </div>`;
}

function usePreview(image) {
  const [url, setUrl] = useState(null);
  useEffect(() => {
    if (!image) {
      setUrl(null);
      return undefined;
    }
    const made = URL.createObjectURL(image);
    setUrl(made);
    return () => URL.revokeObjectURL(made);
  }, [image]);
  return url;
}
