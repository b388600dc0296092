// Where keys are required, nothing is shown before there is one.
import { signIn } from "../api.js";
import { html, useState } from "../html.js";

export function SignIn() {
  const [error, setError] = useState(null);
  const [asking, setAsking] = useState(false);
  async function submit(event) {
    event.preventDefault();
    const key = new FormData(event.target).get("key").trim();
    setAsking(true);
    try {
      await signIn(key);
    } catch (refused) {
      setError(refused.status === 401 ? "The service does not know this key. Was it copied whole?" : refused.message);
      setAsking(false);
    }
  }
  return html`<section class="sign-in card">
    <h1 tabindex="-1">Sign in</h1>
    <p>This service needs a key. Whoever runs it makes one with <code>cinelet keys create NAME</code>.</p>
    <form onSubmit=${submit}>
      <label for="key">Key</label>
      <input
        id="key"
        name="key"
        type="password"
        autocomplete="off"
        required
        placeholder="cin_…"
        aria-describedby=${error ? "key-error" : "key-hint"}
        aria-invalid=${error ? "true" : undefined}
      />
      ${error
        ? html`<p class="error" id="key-error" role="alert">${error}</p>`
        : html`<p class="hint" id="key-hint">It stays in this tab, and is forgotten when the tab is closed.</p>`}
      <button type="submit" class="primary" disabled=${asking}>${asking ? "Asking…" : "Sign in"}</button>
    </form>
  </section>`;
}
