// Work that a button begins: while it goes on the buttons beside it wait, and what fails is said.
import { useState } from "./html.js";
import { complain } from "./toasts.js";

// Returns [busy, doing]; doing(work) does it.
export function useBusy() {
  const [busy, setBusy] = useState(false);
  async function doing(work) {
    setBusy(true);
    try {
      await work();
    } catch (error) {
      complain(error);
    } finally {
      setBusy(false);
    }
  }
  return [busy, doing];
}
