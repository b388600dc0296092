// The generations that the gallery shows: pages that were read, and kept current for as long as the tab lives.
import { caller, get, withQuery } from "./api.js";
import { epoch, known, onChange, remember } from "./live.js";
import { Store } from "./store.js";

const FIRST_PAGE = 60;
// Later ones are read on the way, while there are still some to look at.
const PAGE = 100;
const SHORTEST_PAUSE = 200;
const LONGEST_PAUSE = 10_000;
// Two that begin at once may be written down in the other order: what is newer than this is looked at again.
const OVERLAP_SECONDS = 5;
const MOST_ELSEWHERE = 5000;

const NOTHING = { filter: null, ids: [], held: [], next: null, reading: false, changing: false, error: null };

// filter: {state, model, text}, null before anything was asked for. ids: the newest first. held: new ones that wait
// until somebody wants to see them. next: where the page that follows begins, null on the last one. reading: a page
// comes. changing: it is the first one of another filter, and the ids are still those of the one before.
export const shelf = new Store(NOTHING);

// Where the gallery was left: scroll in pixels, opened: the id that was looked at. awaited: the id that takes the focus
// when it is shown.
export const place = { scroll: 0, opened: null, awaited: null };
// The browser would come back to it as well, at a time of its own, and to where nothing is yet.
history.scrollRestoration = "manual";

const inside = new Set();
// In which epoch each was read.
const readIn = new Map();
// Looked for among what is shown, and not found: they do not fit, or are older than what was read.
const elsewhere = new Set();
let reading = null;
let wanted = null;
let holding = false;
let taking = false;

function change(changes) {
  shelf.value = { ...shelf.value, ...changes };
}

export function sameFilter(one, other) {
  return Boolean(one && other) && ["state", "model", "text"].every((name) => (one[name] ?? "") === (other[name] ?? ""));
}

function plain(text) {
  return text.normalize("NFC").toLowerCase();
}

function fits({ state, model, requested_model: requested, request }, filter) {
  if (filter.state && filter.state !== state) return false;
  if (filter.model && filter.model !== (model ?? requested)) return false;
  return !filter.text || plain(request.prompt ?? "").includes(plain(filter.text));
}

function isBefore(one, other) {
  if (one.created_at !== other.created_at) return one.created_at > other.created_at;
  return one.id > other.id;
}

// Reads the first page that fits a filter, if that was not asked for already.
export function fill(filter) {
  if (sameFilter(filter, wanted)) return;
  wanted = filter;
  anew();
}

// Reads the first page again, and forgets the others.
export function anew() {
  reading?.abort();
  reading = new AbortController();
  change({ reading: true, changing: true, error: null });
  readPage(wanted, reading.signal, { limit: FIRST_PAGE });
}

// Reads the page that follows, if there is one.
export function more() {
  const { next, reading: busy, filter } = shelf.value;
  if (next === null || busy) return;
  change({ reading: true, error: null });
  readPage(filter, reading.signal, { limit: PAGE, after: next });
}

async function readPage(filter, signal, { limit, after }) {
  const asked = epoch.value;
  try {
    const { data, next } = await get(withQuery("/v1/generations", { ...filter, limit, after }), { signal });
    if (!after) {
      inside.clear();
      readIn.clear();
      elsewhere.clear();
      if (shelf.value.filter && !sameFilter(filter, shelf.value.filter)) Object.assign(place, { scroll: 0, opened: null });
    }
    const added = data.filter(({ id }) => !inside.has(id));
    take(data, asked);
    for (const { id } of added) inside.add(id);
    const ids = [...(after ? shelf.value.ids : []), ...added.map(({ id }) => id)];
    change({ filter, ids, next, reading: false, changing: false, held: after ? shelf.value.held : [] });
    if (asked !== epoch.value) lookSoon();
  } catch (error) {
    if (signal.aborted) return;
    if (after) change({ reading: false, error });
    else change({ ...NOTHING, filter, error });
  }
}

// Remembers what was asked for in an epoch, without being told of it by ourselves.
function take(generations, asked) {
  taking = true;
  remember(...generations);
  taking = false;
  for (const { id } of generations) readIn.set(id, asked);
}

// Puts generations where they belong by their time.
function put(generations) {
  const { ids, held, next } = shelf.value;
  const shown = [...ids];
  const waiting = [...held];
  for (const generation of generations) {
    if (inside.has(generation.id)) continue;
    const newest = !shown.length || isBefore(generation, known(shown[0]));
    // Of what is older than the pages that were read, we would show some and not others.
    if (next !== null && shown.length && isBefore(known(shown.at(-1)), generation)) continue;
    inside.add(generation.id);
    if (newest && holding) insert(waiting, generation);
    else insert(shown, generation);
  }
  if (shown.length !== ids.length || waiting.length !== held.length) change({ ids: shown, held: waiting });
}

function insert(ids, generation) {
  let low = 0;
  let high = ids.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (isBefore(known(ids[middle]), generation)) low = middle + 1;
    else high = middle;
  }
  ids.splice(low, 0, generation.id);
}

function takeOut(...gone) {
  const leaving = gone.filter((id) => inside.delete(id));
  if (!leaving.length) return;
  const without = (ids) => ids.filter((id) => inside.has(id));
  change({ ids: without(shelf.value.ids), held: without(shelf.value.held) });
}

// Whether new ones wait: who looks at old ones does not want them to move under the pointer.
export function hold(whether) {
  holding = whether;
  if (holding || !shelf.value.held.length) return;
  const generations = shelf.value.held.map(known);
  for (const { id } of generations) inside.delete(id);
  change({ held: [] });
  put(generations);
}

onChange((id, generation) => {
  const { filter } = shelf.value;
  if (filter === null || taking) return;
  if (generation === null) takeOut(id);
  else if (generation === undefined) lookFor(id);
  else if (fits(generation, filter)) put([generation]);
  else takeOut(id);
});

let looking = null;
let pause = SHORTEST_PAUSE;
const looked = new Set();

// Looks for one of which nothing is known, soon, with others.
function lookFor(id) {
  // One that did not fit may fit now that its state is another.
  if (elsewhere.has(id) && !shelf.value.filter.state) return;
  looked.add(id);
  looking ??= setTimeout(look, pause);
}

function lookSoon() {
  clearTimeout(looking);
  looking = setTimeout(look, 0);
}

async function look() {
  const { filter, ids, held } = shelf.value;
  const newest = known(held[0] ?? ids[0]);
  if (!newest) {
    looking = null;
    looked.clear();
    if (!shelf.value.reading) anew();
    return;
  }
  const asked = [...looked];
  looked.clear();
  try {
    await readBetween(filter, { created_from: newest.created_at - OVERLAP_SECONDS });
    const found = asked.filter((id) => inside.has(id));
    if (elsewhere.size > MOST_ELSEWHERE) elsewhere.clear();
    for (const id of asked) if (!inside.has(id)) elsewhere.add(id);
    pause = found.length ? SHORTEST_PAUSE : Math.min(2 * pause, LONGEST_PAUSE);
  } catch {
    // When the service is heard again, everything is read again.
  }
  looking = looked.size ? setTimeout(look, pause) : null;
}

// Reads all that fits between two times; returns it, or null where the filter is another by now.
async function readBetween(filter, times) {
  const found = [];
  const asked = epoch.value;
  let after = null;
  do {
    const page = await get(withQuery("/v1/generations", { ...filter, ...times, limit: PAGE, after }));
    if (filter !== shelf.value.filter) return null;
    found.push(...page.data);
    after = page.next;
  } while (after !== null);
  take(found, asked);
  put(found);
  return found;
}

// Reads those of some neighbours again that were read before something may have been missed.
export async function refresh(ids) {
  const now = epoch.value;
  const old = ids.filter((id) => readIn.get(id) !== now && known(id));
  if (!old.length) return;
  for (const id of old) readIn.set(id, now);
  const times = { created_from: known(old.at(-1)).created_at, created_before: known(old[0]).created_at + 0.00001 };
  try {
    const found = await readBetween(shelf.value.filter, times);
    if (!found) return;
    const there = new Set(found.map(({ id }) => id));
    takeOut(...old.filter((id) => !there.has(id)));
  } catch {
    for (const id of old) readIn.delete(id);
  }
}

// What was missed: at the top here, the rest by whoever shows it.
epoch.subscribe(() => {
  const { filter, ids, error, reading: busy } = shelf.value;
  if (filter === null || busy) return;
  if (!ids.length) anew();
  else if (error) more();
  else lookSoon();
});

caller.subscribe(() => {
  reading?.abort();
  wanted = null;
  inside.clear();
  Object.assign(place, { scroll: 0, opened: null });
  shelf.value = NOTHING;
});
