// Which elements are in the window or near it.
import { useEffect, useState } from "./html.js";

// How far from the window is near, in pixels: what is scrolled to is there before it is seen.
export const NEAR = 1500;
const READ_AHEAD = 6000;

const hears = new WeakMap();
let observer = null;
// What has come near or gone far, and was not told so yet.
const changed = new Map();

function observe(element, hear) {
  observer ??= new IntersectionObserver(
    (entries) => {
      if (!changed.size) setTimeout(tellNext);
      for (const { target, isIntersecting } of entries) changed.set(target, isIntersecting);
    },
    { rootMargin: `${NEAR}px 0px` },
  );
  hears.set(element, hear);
  observer.observe(element);
  return () => {
    hears.delete(element);
    observer.unobserve(element);
    changed.delete(element);
  };
}

// One after the other, so that the page can be moved and painted in between: what is far away first, which costs little,
// then what is nearest to the middle of the window.
function tellNext() {
  for (const [element, isNear] of changed) {
    if (isNear) continue;
    changed.delete(element);
    hears.get(element)?.(false);
  }
  let nearest = null;
  let least = Infinity;
  for (const element of changed.keys()) {
    const { top, bottom } = element.getBoundingClientRect();
    const distance = Math.abs((top + bottom - innerHeight) / 2);
    if (distance >= least) continue;
    nearest = element;
    least = distance;
  }
  if (!nearest) return;
  changed.delete(nearest);
  hears.get(nearest)?.(true);
  if (changed.size) setTimeout(tellNext);
}

// Whether an element is near the window. first: what is thought before that is known. What has the focus stays near.
export function useNear(ref, first) {
  const [near, setNear] = useState(first);
  useEffect(() => {
    const element = ref.current;
    let inWindow = first;
    const settle = () => setNear(inWindow || element.contains(document.activeElement));
    const end = observe(element, (isNear) => {
      inWindow = isNear;
      settle();
    });
    const left = () => inWindow || setTimeout(settle);
    element.addEventListener("focusout", left);
    return () => {
      element.removeEventListener("focusout", left);
      end();
    };
  }, []);
  return near;
}

// Calls `reach` whenever an element is so near that what follows it should be read; and again for as long as it is and
// `key` changes.
export function useReached(ref, reach, key) {
  useEffect(() => {
    if (!ref.current) return undefined;
    const watch = new IntersectionObserver(([{ isIntersecting }]) => isIntersecting && reach(), { rootMargin: `${READ_AHEAD}px 0px` });
    watch.observe(ref.current);
    return () => watch.disconnect();
  }, [key]);
}

const QUICK_MILLISECONDS = 100;
let scrolledAt = 0;
addEventListener(
  "scroll",
  () => {
    scrolledAt = performance.now();
  },
  { passive: true },
);

// False while the window is scrolled, of what has just come near: whoever passes by needs no pictures.
export function useSettled() {
  const [settled, settle] = useState(() => performance.now() - scrolledAt > QUICK_MILLISECONDS);
  useEffect(() => {
    if (settled) return undefined;
    const timer = setTimeout(() => settle(true), QUICK_MILLISECONDS);
    return () => clearTimeout(timer);
  }, []);
  return settled;
}
