// Which elements are in the window or near it.
import { useEffect, useState } from "./html.js";

// How far from the window is near, in pixels: what is scrolled to is there before it is seen.
export const NEAR = 1500;

const hears = new WeakMap();
let observer = null;

function observe(element, hear) {
  observer ??= new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) hears.get(target)?.(isIntersecting);
    },
    { rootMargin: `${NEAR}px 0px` },
  );
  hears.set(element, hear);
  observer.observe(element);
  return () => {
    hears.delete(element);
    observer.unobserve(element);
  };
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

// Calls `reach` whenever an element is near the window; and again for as long as it is and `key` changes.
export function useReached(ref, reach, key) {
  useEffect(() => (ref.current ? observe(ref.current, (isNear) => isNear && reach()) : undefined), [key]);
}
