// Server-sent events by fetch: EventSource cannot send a key.
import { request } from "./api.js";

// Gives {name, data} of each event of a stream until it ends. Raises ApiError where it cannot be opened.
export async function* eventStream(path, { signal }) {
  const response = await request("GET", path, { headers: { accept: "text/event-stream" }, signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  const parser = new Parser();
  while (true) {
    const { value, done } = await reader.read();
    if (done) return;
    yield* parser.take(value);
  }
}

export class Parser {
  #rest = "";
  #name = "";
  #data = [];

  // Returns the events that a piece of the text completes. Pieces may be cut anywhere, also between CR and LF.
  *take(piece) {
    const text = this.#rest + piece;
    const held = text.endsWith("\r") ? 1 : 0;
    const lines = text.slice(0, text.length - held).split(/\r\n|\n|\r/);
    this.#rest = lines.pop() + text.slice(text.length - held);
    for (const line of lines) {
      if (line === "") {
        if (this.#data.length) yield { name: this.#name || "message", data: JSON.parse(this.#data.join("\n")) };
        this.#name = "";
        this.#data = [];
      } else {
        const [field, ...rest] = line.split(":");
        const value = rest.join(":").replace(/^ /, "");
        if (field === "event") this.#name = value;
        if (field === "data") this.#data.push(value);
      }
    }
  }
}
