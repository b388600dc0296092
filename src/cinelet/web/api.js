// The HTTP interface, as any client would use it. The key stays in this tab: in its session storage, and in no address.
import { Store } from "./store.js";

const KEY = "cinelet.key";

// Who we are: {owner, role, needs_key, limits}; null until that is known; "unknown" where a key is needed first.
export const caller = new Store(null);

export class ApiError extends Error {
  // status: 0 where there was no answer.
  constructor(status, { code, message, details = {} }, retryAfter = null) {
    super(message);
    Object.assign(this, { status, code, details, retryAfter });
  }
}

export function hasKey() {
  return sessionStorage.getItem(KEY) !== null;
}

// Takes a key for this tab, if the service does. Raises ApiError.
export async function signIn(key) {
  sessionStorage.setItem(KEY, key);
  try {
    await learnCaller();
  } catch (error) {
    sessionStorage.removeItem(KEY);
    throw error;
  }
}

export function signOut() {
  sessionStorage.removeItem(KEY);
  caller.value = "unknown";
}

export async function learnCaller() {
  caller.value = await get("/v1/me");
}

// Returns the response where it is a good one, else raises ApiError. json, form: the body. key: of a creation that is
// done once, however often it is asked for.
export async function request(method, path, { json, form, headers = {}, idempotencyKey, signal, keepalive } = {}) {
  const sent = { ...headers };
  const key = sessionStorage.getItem(KEY);
  if (key !== null) sent.authorization = `Bearer ${key}`;
  if (json !== undefined) sent["content-type"] = "application/json";
  if (idempotencyKey) sent["idempotency-key"] = idempotencyKey;
  let response;
  try {
    const body = json === undefined ? form : JSON.stringify(json);
    response = await fetch(path, { method, headers: sent, body, signal, keepalive });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, { code: "unreachable", message: "The service does not answer. Is it still running?" });
  }
  if (response.ok) return response;
  const error = await refused(response);
  // Anything but the question who we are: the key was revoked, or the first one was made meanwhile.
  if (error.status === 401 && path !== "/v1/me") signOut();
  throw error;
}

async function refused(response) {
  const retryAfter = Number(response.headers.get("retry-after")) || null;
  try {
    return new ApiError(response.status, (await response.json()).error, retryAfter);
  } catch {
    const message = `The service answered ${response.status} without a reason. Its log may say more.`;
    return new ApiError(response.status, { code: "unreadable", message }, retryAfter);
  }
}

export async function get(path, options) {
  return (await request("GET", path, options)).json();
}

export async function post(path, json, options) {
  return (await request("POST", path, { json, ...options })).json();
}

// A path with the parameters that are set.
export function withQuery(path, parameters) {
  const given = Object.entries(parameters).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return given.length ? `${path}?${new URLSearchParams(given)}` : path;
}

// A name for a creation. randomUUID is not there where the page came over plain HTTP from another machine.
export function newIdempotencyKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
