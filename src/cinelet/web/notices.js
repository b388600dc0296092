// A word from the browser when a video is done that this tab has asked for, if somebody allows it.
import { html } from "./html.js";
import { isFinal, onChange } from "./live.js";
import { goTo } from "./router.js";
import { Store, remembered, useStore } from "./store.js";
import { toast } from "./toasts.js";

const expected = new Set();
const wanted = remembered("cinelet.notices", false);
const permission = new Store("Notification" in window ? Notification.permission : "denied");

export function expect(id) {
  expected.add(id);
}

onChange((id, generation) => {
  if (!generation || !isFinal(generation) || !expected.delete(id)) return;
  if (!document.hidden || !wanted.value || permission.value !== "granted") return;
  const title = { completed: "Your video is ready", failed: "A video could not be made" }[generation.state];
  if (!title) return;
  const notice = new Notification(title, { body: generation.request.prompt ?? "", icon: "/web/icon.svg", tag: id });
  notice.onclick = () => {
    window.focus();
    goTo("generation", id);
    notice.close();
  };
});

export function NoticeSwitch() {
  const allowed = useStore(permission);
  const on = useStore(wanted) && allowed === "granted";
  if (!("Notification" in window)) return null;
  async function change() {
    if (!on && allowed === "default") permission.value = await Notification.requestPermission();
    if (!on && permission.value !== "granted") {
      toast("The browser does not allow notifications for this page; its settings can change that.");
      return;
    }
    wanted.value = !on;
  }
  return html`<label class="check hint-check">
    <input type="checkbox" checked=${on} onChange=${change} />
    Notify me when it is done
  </label>`;
}
