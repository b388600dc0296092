// Width and height: the model's own, its shape turned, or any that it can do.
import { html, useState } from "../html.js";
import { Field } from "./field.js";

const OTHER = "other";

// Sizes of about as many pixels as the model's own, on its grid.
export function sizesOf(facts) {
  if (!facts?.default_size) return [];
  const [width, height] = facts.default_size;
  const grid = facts.size_multiple ?? 16;
  const onGrid = (side) => Math.max(grid, Math.round(side / grid) * grid);
  const area = width * height;
  const shapes = [
    [width, height],
    [height, width],
    ...[16 / 9, 9 / 16, 1].map((ratio) => [onGrid(Math.sqrt(area * ratio)), onGrid(Math.sqrt(area / ratio))]),
    [onGrid(width / 2), onGrid(height / 2)],
  ];
  const seen = new Set();
  return shapes.filter((shape) => {
    const name = shape.join("x");
    const [low, high] = facts.limits?.side ?? [16, 4096];
    const fits = shape.every((side) => side >= low && side <= high);
    return fits && !seen.has(name) && seen.add(name);
  });
}

function shapeName([width, height]) {
  if (width === height) return "square";
  return width > height ? "landscape" : "portrait";
}

export function SizePicker({ facts, width, height, onSize, errors, disabledBecause }) {
  const sizes = sizesOf(facts);
  const chosen = width && height ? `${width}x${height}` : "";
  const listed = chosen === "" || sizes.some((size) => size.join("x") === chosen);
  const [other, setOther] = useState(false);
  const free = other || !listed;
  const grid = facts?.size_multiple ?? 16;
  const [low, high] = facts?.limits?.side ?? [16, 4096];
  const side = (label, value, change, error) => html`<${Field}
    label=${label}
    error=${error}
    input=${(attributes) => html`<input
      ...${attributes}
      type="number"
      min=${low}
      max=${high}
      step=${grid}
      value=${value ?? ""}
      onChange=${(event) => change(event.target.valueAsNumber || undefined)}
    />`}
  />`;
  return html`
    <${Field}
      label="Size"
      error=${errors.size}
      disabledBecause=${disabledBecause}
      input=${(attributes) => html`<select
        ...${attributes}
        value=${free ? OTHER : chosen}
        onChange=${(event) => {
          const { value } = event.target;
          setOther(value === OTHER);
          if (value !== OTHER) onSize(...(value ? value.split("x").map(Number) : [undefined, undefined]));
        }}
      >
        <option value="">The model's own${sizes.length ? ` (${sizes[0].join(" × ")})` : ""}</option>
        ${sizes.slice(1).map((size) => html`<option value=${size.join("x")}>${size.join(" × ")}, ${shapeName(size)}</option>`)}
        <option value=${OTHER}>Another…</option>
      </select>`}
    />
    ${free && !disabledBecause && side("Width", width, (value) => onSize(value, height), errors.width)}
    ${free && !disabledBecause && side("Height", height, (value) => onSize(width, value), errors.height)}
  `;
}
