// Addresses of pictures and videos for elements. Where a key is needed, an element cannot ask: we fetch for it.
import { hasKey, request } from "./api.js";
import { useEffect, useState } from "./html.js";

// Seconds, where the service does not say when to come back.
const PAUSES = [0.5, 2, 8];
const fetched = new Map();

// The store may sign links to elsewhere, where this page's content policy lets nothing come from.
function fromHere(path) {
  return `${path}${path.includes("?") ? "&" : "?"}redirect=false`;
}

// What lies at a path. Where the service is busy or away for a moment, we ask again: an element would stay empty.
async function asked(path, signal) {
  for (const pause of PAUSES) {
    try {
      return await (await request("GET", fromHere(path), { signal })).blob();
    } catch (error) {
      const mayPass = error.status === 0 || error.status === 429 || error.status >= 500;
      if (signal.aborted || !mayPass) throw error;
      await new Promise((resolve) => setTimeout(resolve, (error.retryAfter ?? pause) * 1000));
      signal.throwIfAborted();
    }
  }
  return (await request("GET", fromHere(path), { signal })).blob();
}

// Returns {url, release}: of a path, while somebody shows it.
function shared(path) {
  let entry = fetched.get(path);
  if (!entry) {
    const asking = new AbortController();
    const blob = asked(path, asking.signal);
    entry = { users: 0, asking, url: blob.then((content) => URL.createObjectURL(content)) };
    fetched.set(path, entry);
    const failed = entry;
    entry.url.catch(() => fetched.get(path) === failed && fetched.delete(path));
  }
  entry.users += 1;
  const release = () => {
    entry.users -= 1;
    if (entry.users) return;
    if (fetched.get(path) === entry) fetched.delete(path);
    // Nobody wants it any more, if it is still on its way.
    entry.asking.abort();
    entry.url.then((url) => URL.revokeObjectURL(url)).catch(() => {});
  };
  return { url: entry.url, release };
}

// The address for an element that shows a path of the interface; null until there is one. wanted: whether it is shown.
export function useMedia(path, wanted = true) {
  const direct = !hasKey();
  const [shown, show] = useState({ path: null, url: null });
  useEffect(() => {
    if (!path || direct || !wanted) return undefined;
    const { url, release } = shared(path);
    let current = true;
    url.then((address) => current && show({ path, url: address })).catch(() => {});
    return () => {
      current = false;
      release();
    };
  }, [path, direct, wanted]);
  if (!path || !wanted) return null;
  if (direct) return fromHere(path);
  return shown.path === path ? shown.url : null;
}

export async function fetchBlob(path) {
  return (await request("GET", fromHere(path))).blob();
}

// Hands a file to whoever looks at the page.
export function save(blob, name) {
  const url = URL.createObjectURL(blob);
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

// The last frame of a video as a PNG file. Raises Error where the browser cannot play the video.
export async function lastFrame(path) {
  const url = URL.createObjectURL(await fetchBlob(path));
  const video = document.createElement("video");
  video.muted = true;
  video.preload = "auto";
  try {
    video.src = url;
    await happened(video, "loadeddata");
    video.currentTime = Math.max(0, video.duration - 0.001);
    await happened(video, "seeked");
    const canvas = document.createElement("canvas");
    canvas.width = video.videoWidth;
    canvas.height = video.videoHeight;
    canvas.getContext("2d").drawImage(video, 0, 0);
    const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
    return new File([blob], "last-frame.png", { type: "image/png" });
  } finally {
    video.removeAttribute("src");
    video.load();
    URL.revokeObjectURL(url);
  }
}

function happened(video, name) {
  return new Promise((resolve, reject) => {
    video.addEventListener(name, resolve, { once: true });
    video.addEventListener("error", () => reject(new Error("This browser cannot play the video")), { once: true });
  });
}
