/** The page put together: who looks, which view, whether the recorder answers. */

import { watchAlerts } from "./alerts.js";
import { caller, state, token } from "./api.js";
import { closeDialogs, h } from "./dom.js";
import { keepAges, when } from "./format.js";
import { listenToKeys } from "./keys.js";
import * as live from "./live.js";
import { part } from "./parts.js";
import * as pulse from "./pulse.js";
import { link, place } from "./router.js";
import { themeSwitch } from "./theme.js";
import { settle } from "./undo.js";
import { zoneSwitch } from "./zone.js";
import { login } from "./views/login.js";
import { now } from "./views/now.js";

/**
 * A view is loaded where it is opened first; it may return what takes other params.
 * @typedef {(root: HTMLElement, params: URLSearchParams, over: AbortSignal, path: string[]) => any} View
 * @typedef {() => View|Promise<View>} Load
 * @type {Record<string, [string, Load]>}
 */
const VIEWS = {
  now: ["Now", () => now],
  events: ["Events", async () => (await import("./views/events.js")).events],
  guests: ["Guests", async () => (await import("./views/inventory.js")).guests],
  storages: ["Storages", async () => (await import("./views/inventory.js")).storages],
  moment: ["Moment", async () => (await import("./views/moment.js")).moment],
  conversations: [
    "Conversations",
    async () => (await import("./views/conversations.js")).conversations,
  ],
  preferences: ["Preferences", async () => (await import("./views/preferences.js")).preferences],
  "dead-letters": [
    "Dead letters",
    async () => (await import("./views/dead-letters.js")).deadLetters,
  ],
  settings: ["Settings", async () => (await import("./views/settings.js")).settings],
};
/** Views that others lead to. @type {Record<string, [string, Load]>} */
const FURTHER = {
  compare: ["What changed", async () => (await import("./views/compare.js")).compare],
  incident: ["Incident", async () => (await import("./views/incident.js")).incident],
  silences: ["Silences", async () => (await import("./views/silences.js")).silences],
  event: ["Event", async () => (await import("./views/one-event.js")).oneEvent],
  thing: ["Over time", async () => (await import("./views/thing.js")).thing],
};
/** Views of one thing of a list, by the number of parts that their address has. */
const ONE = /** @type {Record<string, [number, string]>} */ ({
  events: [2, "event"],
  incidents: [2, "incident"],
  nodes: [3, "thing"],
  guests: [3, "thing"],
  storages: [3, "thing"],
});

/** What asks something of the view that is shown. */
const QUESTION = ".question";

/** @param {string} id @returns {any} */
const byId = (id) => document.getElementById(id);
const content = byId("content");
/** What goes on while somebody is logged in. */
let inside = new AbortController();
let title = "";
let alerts = 0;
/**
 * `at`: its address; `isThere`: its module has come.
 * @type {{of: string, at: string, over: AbortController, isThere: boolean,
 *   update?: (params: URLSearchParams) => void}|null}
 */
let shown = null;
/** The role of who looks. @type {unknown} */
let role = null;
/** The view, with what is typed in it, while the login is shown. @type {Node[]|null} */
let aside = null;

function leave() {
  settle();
  closeDialogs(QUESTION);
  shown?.over.abort();
  shown = null;
}

function show() {
  if (!token.get()) {
    showLogin();
    return;
  }
  const { path, params } = place();
  const [listed, id = ""] = path;
  const [parts, one] = Object.hasOwn(ONE, listed) ? ONE[listed] : [];
  const asked = parts === path.length && id + path.at(-1) ? String(one) : listed;
  const views = { ...VIEWS, ...FURTHER };
  const name = Object.hasOwn(views, asked) ? asked : "now";
  if (name === "conversations" && id) params.set("session", id);
  for (const anchor of byId("nav").children) {
    if (anchor.dataset.view === (name === asked ? listed : name)) {
      anchor.setAttribute("aria-current", "page");
      anchor.parentElement.scrollLeft = anchor.offsetLeft - anchor.parentElement.offsetLeft - 40;
    } else anchor.removeAttribute("aria-current");
  }
  const of = asked === listed ? name : path.join("/");
  if (shown?.of === of && shown.update) {
    closeDialogs(QUESTION);
    shown.at = location.hash;
    shown.update(params);
    return;
  }
  const moved = shown !== null;
  leave();
  const over = new AbortController();
  const [words, load] = views[name];
  title = name === "event" ? `Event ${id}` : name === "thing" ? String(path.at(-1)) : words;
  entitle();
  const heading = h("h1", { tabindex: "-1" }, title);
  content.replaceChildren(heading);
  shown = { of, at: location.hash, over, isThere: false };
  // The view may know a better place.
  if (moved) {
    heading.focus({ preventScroll: true });
    scrollTo(0, 0);
  }
  begin(load, params, over, path);
}

/** @param {Load} load @param {URLSearchParams} params @param {AbortController} over @param {string[]} path */
async function begin(load, params, over, path) {
  const mine = shown;
  try {
    const view = await part(load);
    if (!mine || over.signal.aborted) return;
    mine.update = view(content, params, over.signal, path);
    mine.isThere = true;
  } catch (error) {
    console.error(error);
    if (over.signal.aborted) return;
    content.append(h("p", { class: "problem", role: "alert" }, "This view could not be loaded."));
    // Nothing is typed here yet, and the address names the view.
    pulse.pulse.addEventListener("back", () => location.reload(), { signal: over.signal });
  }
}

async function search() {
  const palette = await part(() => import("./palette.js")).catch(() => null); // it is said
  palette?.openPalette(Object.entries(VIEWS).map(([name, [title]]) => [name, title]));
}

/** A tab among others says what is wrong, too. */
function entitle() {
  const away = pulse.condition().name === "away" ? "away · " : "";
  document.title = `${alerts ? `(${alerts}) ` : ""}${away}${title} · jarvis recorder`;
  const icon = iconOf(Boolean(alerts || away));
  if (byId("icon").href !== icon) byId("icon").href = icon;
  // An installed page has a badge, where the system knows them.
  const badge = alerts ? navigator.setAppBadge?.(alerts) : navigator.clearAppBadge?.();
  badge?.catch(() => {});
}

/** @param {boolean} alerted */
const iconOf = (alerted) =>
  new URL(`../icon${alerted ? "-alert" : ""}.svg`, import.meta.url).href;

function showLogin() {
  settle();
  // A field below one could not be reached.
  closeDialogs();
  if (!shown?.isThere) leave();
  aside ??= shown && [...content.childNodes];
  inside.abort();
  live.stop();
  pulse.stop();
  byId("top").hidden = true;
  byId("away").hidden = true;
  alerts = 0;
  byId("icon").href = iconOf(false);
  document.title = "Log in · jarvis recorder";
  content.replaceChildren();
  login(content, enterAgain);
}

function enter() {
  const before = role;
  role = caller().role;
  // Who logs in again, and went nowhere else meanwhile, finds what was there.
  if (role !== before || shown?.at !== location.hash) leave();
  inside.abort();
  inside = new AbortController();
  alerts = 0;
  byId("top").hidden = false;
  live.start();
  pulse.start();
  watchAlerts(inside.signal, (total) => {
    alerts = total;
    entitle();
  });
  if (shown) {
    if (aside) content.replaceChildren(...aside);
    entitle();
    // What is shown is from before.
    pulse.pulse.dispatchEvent(new Event("back"));
  } else show();
  aside = null;
}

/** Enter where a form had the focus, or another tab had one. */
function enterAgain() {
  enter();
  if (document.activeElement === document.body)
    content.querySelector("h1")?.focus({ preventScroll: true });
}

/** Never more than is known: nothing is green that was not heard of a moment ago. */
function showCondition() {
  const { name, since, why } = pulse.condition();
  byId("live").dataset.state = name;
  byId("live").replaceChildren(name, ...(since ? [" since ", when(since.toISOString())] : []));
  byId("away").hidden = name !== "away";
  const words = `The recorder is away: ${why} This page keeps trying.`;
  if (why && byId("away").textContent !== words) byId("away").textContent = words;
  entitle();
}

byId("nav").append(
  ...Object.entries(VIEWS).map(([name, [title]]) =>
    h("a", { href: link(name), "data-view": name }, title),
  ),
);
byId("skip").addEventListener("click", (/** @type {Event} */ event) => {
  event.preventDefault();
  content.focus();
});
byId("logout").addEventListener("click", () => {
  // What waits to be done is done by who asked for it.
  leave();
  token.forget();
  showLogin();
});
byId("search").addEventListener("click", search);
listenToKeys(() => Boolean(token.get()), search);
themeSwitch(byId("theme"));
zoneSwitch(byId("zone"));
pulse.pulse.addEventListener("change", () => token.get() && showCondition());
state.addEventListener("login", () => (token.get() ? enterAgain() : showLogin()));
addEventListener("hashchange", show);
keepAges();
if (token.get()) enter();
else showLogin();
