// LoRAs as people write them, one a line: a path, or a path and how strongly it counts.

// The values of a text. What is no number stays a part of the path, and the service says what is wrong with it.
export function lorasOf(text) {
  return text
    .split(/[\r\n;]+/)
    .map((line) => line.trim())
    .filter(Boolean)
    .map((line) => {
      const at = line.lastIndexOf("=");
      const scale = line.slice(at + 1).trim();
      if (at < 1 || !scale || Number.isNaN(Number(scale))) return { path: line };
      return { path: line.slice(0, at).trim(), scale: Number(scale) };
    });
}

// One LoRA as a line.
export function loraLine({ path, scale = 1 }) {
  return scale === 1 ? path : `${path}=${scale}`;
}

export function textOf(loras) {
  return (loras ?? []).map(loraLine).join("\n");
}
