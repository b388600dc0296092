// A batch as it goes on: read once, then kept current by the tab's one event stream.
import { get, post, request } from "../api.js";
import { epoch, isFinal, known, onChange, remember } from "../live.js";
import { Store } from "../store.js";
import { shapeOf } from "./shape.js";

const TALLY_PAUSE = 150;
const READ_PAUSE = 500;
// Results of thousands of lines are megabytes: not more often than this.
const LEAST_BETWEEN_READS = 2000;

export class WatchedBatch {
  // As `/v1/batches/{id}` says it; null until it is read.
  head = new Store(null);
  // Why it could not be read, an ApiError.
  error = new Store(null);
  // The lines by number, each a store of its own: of five hundred only the one that changed is drawn again.
  lines = new Map();
  numbers = new Store([]);
  // What they are together: {counts, progress, rest}; rest: seconds that the open ones may take, null if unknown.
  tally = new Store(null);
  // Of their pictures, as CSS has it: that of the first video, null until there is one.
  shape = new Store(null);

  #path;
  #numberOf = new Map();
  // The lines as they were read: most are the same the next time, and need not be drawn again.
  #texts = [];
  #taking = false;
  #ends = [];
  #tallying = null;
  #reading = null;
  #lastRead = 0;
  #stopping = new AbortController();

  constructor(id) {
    this.#path = `/v1/batches/${encodeURIComponent(id)}`;
  }

  // Begins; returns what ends it.
  watch() {
    this.#ends = [onChange((id, generation) => this.#hear(id, generation)), epoch.subscribe(() => this.#readSoon())];
    this.#read();
    return () => {
      for (const end of this.#ends) end();
      clearTimeout(this.#tallying);
      clearTimeout(this.#reading);
      this.#stopping.abort();
    };
  }

  // Cancels what has not ended. Raises ApiError.
  async cancel() {
    this.head.value = await post(`${this.#path}/cancel`);
    this.#readSoon();
  }

  // The results as a file. Raises ApiError.
  async results() {
    return (await request("GET", `${this.#path}/results`)).blob();
  }

  #hear(id, generation) {
    if (this.#taking) return;
    const number = this.#numberOf.get(id);
    if (number === undefined) {
      // Perhaps it is of a line that had none yet.
      if (this.numbers.value.length > this.#numberOf.size && !this.head.value?.finished_at) this.#readSoon();
      return;
    }
    if (generation === undefined) return;
    const line = this.lines.get(number);
    if (generation === null) line.value = { ...line.value, state: "deleted", generation: null, video: null };
    else line.value = { ...line.value, state: generation.state, generation, error: generation.error, video: generation.links.video };
    this.#tallySoon();
  }

  #readSoon() {
    if (this.#reading !== null) return;
    const since = performance.now() - this.#lastRead;
    this.#reading = setTimeout(() => this.#read(), Math.max(READ_PAUSE, LEAST_BETWEEN_READS - since));
  }

  async #read() {
    clearTimeout(this.#reading);
    this.#reading = null;
    this.#lastRead = performance.now();
    const { signal } = this.#stopping;
    try {
      const head = await get(this.#path, { signal });
      const text = await (await request("GET", `${this.#path}/results`, { signal })).text();
      this.#take(text.split("\n").filter(Boolean));
      this.head.value = head;
      this.error.value = null;
      // Whether it is over, and when, the service says; it may be about to.
      if (!this.tally.value.open && !head.finished_at) this.#readSoon();
    } catch (error) {
      // What is known stays; live.js says that the service is away, and the next epoch reads again.
      if (error.name !== "AbortError" && (error.status !== 0 || !this.head.value)) this.error.value = error;
    }
  }

  #take(texts) {
    const changed = texts.filter((text, index) => text !== this.#texts[index]).map(JSON.parse);
    this.#texts = texts;
    for (const line of changed) {
      // An event may have come while this was on its way: what has ended stays so.
      const now = line.id && known(line.id);
      const older = now && isFinal(now) && line.generation && !isFinal(line.generation);
      const current = older ? { ...line, state: now.state, generation: now, error: now.error, video: now.links.video } : line;
      if (line.id) this.#numberOf.set(line.id, line.line);
      const store = this.lines.get(line.line);
      if (!store) this.lines.set(line.line, new Store(current));
      else if (!same(store.value, current)) store.value = current;
    }
    if (this.lines.size !== this.numbers.value.length) this.numbers.value = [...this.lines.keys()].sort((one, other) => one - other);
    this.#taking = true;
    remember(...changed.map(({ line }) => this.lines.get(line).value.generation).filter(Boolean));
    this.#taking = false;
    this.#tallyNow();
  }

  #tallySoon() {
    this.#tallying ??= setTimeout(() => this.#tallyNow(), TALLY_PAUSE);
  }

  #tallyNow() {
    clearTimeout(this.#tallying);
    this.#tallying = null;
    const before = this.tally.value;
    const lines = this.numbers.value.map((number) => this.lines.get(number).value);
    this.tally.value = tallyOf(lines);
    this.shape.value ??= shapeMade(lines);
    if (before?.open && !this.tally.value.open && !this.head.value?.finished_at) this.#readSoon();
  }
}

// Whether a line that an event has told of is read as it is known already.
function same(one, other) {
  return one.id === other.id && one.state === other.state && one.generation?.progress === other.generation?.progress && one.generation?.stage === other.generation?.stage;
}

function shapeMade(lines) {
  const made = lines.find(({ state, generation }) => state === "completed" && generation?.result);
  return made ? shapeOf(...made.generation.result.resolution.split("x").map(Number)) : null;
}

// What lines are together.
export function tallyOf(lines) {
  const counts = { queued: 0, in_progress: 0, completed: 0, failed: 0, cancelled: 0, deleted: 0 };
  let done = 0;
  let worked = 0;
  let first = Infinity;
  let last = 0;
  for (const { state, generation } of lines) {
    counts[state] += 1;
    done += state === "in_progress" ? (generation?.progress ?? 0) : Number(state !== "queued");
    if (state === "completed" && generation?.started_at) {
      worked += 1;
      first = Math.min(first, generation.started_at);
      last = Math.max(last, generation.finished_at);
    }
  }
  const open = counts.queued + counts.in_progress;
  const rest = worked > 1 && open && last > first ? ((lines.length - done) * (last - first)) / worked : null;
  return { counts, open, total: lines.length, progress: lines.length ? done / lines.length : 0, rest };
}
