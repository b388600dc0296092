// What only a model on this machine can be given: LoRAs, and a model that makes its video larger.
import { html, useEffect, useState } from "../html.js";
import { lorasOf, textOf } from "../loras.js";
import { Field } from "./field.js";

const MAX_LORA_CHARACTERS = 5000;
const MAX_MODEL_CHARACTERS = 500;

export function LocalFields({ values, setValue, errors, unused }) {
  // What is there can be taken away, also where the model has no use for it: elsewhere it is refused.
  const unneeded = (name) => (values[name] ? undefined : unused(name));
  return html`
    <${Loras} loras=${values.lora} setValue=${setValue} error=${errors.lora} disabledBecause=${unneeded("lora")} />
    <${Field}
      label="Upscaler"
      error=${errors.upscaler}
      disabledBecause=${unneeded("upscaler")}
      hint="A model on this machine that makes it anew at twice its size."
      input=${(attributes) => html`<input
        ...${attributes}
        type="text"
        maxlength=${MAX_MODEL_CHARACTERS}
        placeholder="none"
        value=${values.upscaler ?? ""}
        onInput=${(event) => setValue("upscaler", event.target.value.trim())}
      />`}
    />
  `;
}

function Loras({ loras, setValue, error, disabledBecause }) {
  const [text, setText] = useState(textOf(loras));
  useEffect(() => {
    // Another generation's values were put in; what is being written is left as it is.
    if (textOf(lorasOf(text)) !== textOf(loras)) setText(textOf(loras));
  }, [textOf(loras)]);
  function written(now) {
    const read = lorasOf(now);
    setText(now);
    setValue("lora", read.length ? read : undefined);
  }
  return html`<${Field}
    label="LoRAs"
    error=${error}
    disabledBecause=${disabledBecause}
    hint="One a line: path or path=scale."
    input=${(attributes) => html`<textarea
      ...${attributes}
      maxlength=${MAX_LORA_CHARACTERS}
      rows="2"
      spellcheck="false"
      placeholder="org/name=0.8"
      value=${text}
      onInput=${(event) => written(event.target.value)}
    ></textarea>`}
  />`;
}
