// The page: who we are, which view is shown, and whether the service is heard.
import { caller, hasKey, learnCaller, signOut } from "./api.js";
import { html, render, useEffect, useRef } from "./html.js";
import { connection, listen } from "./live.js";
import { linkTo, useRoute } from "./router.js";
import { useStore } from "./store.js";
import { ThemeButton } from "./theme.js";
import { Announcer, Toasts } from "./toasts.js";
import { Admin } from "./views/admin.js";
import { Batch } from "./views/batch.js";
import { Compare } from "./views/compare.js";
import { Gallery } from "./views/gallery.js";
import { GenerationView } from "./views/generation.js";
import { Make } from "./views/make.js";
import { SignIn } from "./views/sign_in.js";
import { Stats } from "./views/stats.js";

const VIEWS = {
  make: { view: Make, label: "Make" },
  gallery: { view: Gallery, label: "Gallery" },
  batch: { view: Batch, label: "Batch" },
  compare: { view: Compare, label: "Compare" },
  stats: { view: Stats, label: "Stats" },
  admin: { view: Admin, label: "Admin", role: "admin" },
  generation: { view: GenerationView },
};

function Navigation({ current, role }) {
  const shown = Object.entries(VIEWS).filter(([, { label, role: needed }]) => label && (!needed || needed === role));
  return html`<nav aria-label="Views">
    ${shown.map(
      ([name, { label }]) =>
        html`<a href=${linkTo(name)} aria-current=${name === current ? "page" : undefined}>${label}</a>`,
    )}
  </nav>`;
}

function NotFound() {
  return html`<section class="empty">
    <h1 tabindex="-1">There is no such page</h1>
    <p><a href=${linkTo("make")}>Make a video</a> or look at <a href=${linkTo("gallery")}>those that were made</a>.</p>
  </section>`;
}

function ConnectionLine() {
  if (useStore(connection) !== "lost") return null;
  return html`<p class="banner" role="alert">
    The service does not answer. Work that was accepted goes on when it is back; this page connects again by itself.
  </p>`;
}

function App() {
  const { name, id, query } = useRoute();
  const who = useStore(caller);
  const main = useRef();
  const place = `${name}/${id}`;
  const first = useRef(place);
  useEffect(() => {
    // Whoever went somewhere by keyboard or screen reader begins there, and not at the top of the page again. A view
    // that comes back to where it was has put the focus there itself.
    const placed = main.current?.contains(document.activeElement);
    if (first.current !== place && !placed) main.current?.querySelector("h1")?.focus();
    first.current = null;
  }, [place]);
  const { view: View } = VIEWS[name] ?? { view: NotFound };
  const signedIn = who && who !== "unknown";
  return html`
    <a class="skip" href="#main" onClick=${(event) => skip(event, main)}>To the content</a>
    <header class="top">
      <a class="brand" href=${linkTo("make")}><img src="/web/icon.svg" alt="" width="28" height="28" />cinelet</a>
      ${signedIn && html`<${Navigation} current=${name} role=${who.role} />`}
      <div class="top-end">
        ${signedIn && hasKey() && html`<button type="button" class="quiet" onClick=${signOut}>Sign out</button>`}
        <a class="quiet-link" href="/docs">API</a>
        <${ThemeButton} />
      </div>
    </header>
    <${ConnectionLine} />
    <main id="main" ref=${main}>
      ${who === null && html`<p class="empty" role="status">Asking the service…</p>`}
      ${who === "unknown" && html`<${SignIn} />`}
      ${signedIn && html`<${View} key=${place} id=${id} query=${query} />`}
    </main>
    <${Toasts} />
    <${Announcer} />
  `;
}

function skip(event, main) {
  event.preventDefault();
  const heading = main.current?.querySelector("h1");
  heading?.focus();
  heading?.scrollIntoView();
}

// Asks who we are until the service answers: it may still be starting.
async function learn() {
  while (caller.value === null) {
    try {
      await learnCaller();
      return;
    } catch (error) {
      if (error.status === 401 || error.status === 403) {
        sessionStorage.removeItem("cinelet.key");
        caller.value = "unknown";
        return;
      }
      connection.value = "lost";
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
  }
}

render(html`<${App} />`, document.getElementById("app"));
learn();
listen();
