/** The page put together: who looks, which view, whether the recorder answers. */

import { watchAlerts } from "./alerts.js";
import { state, token } from "./api.js";
import { h } from "./dom.js";
import { keepAges, when } from "./format.js";
import * as live from "./live.js";
import * as pulse from "./pulse.js";
import { link, place } from "./router.js";
import { themeSwitch } from "./theme.js";
import { settle } from "./undo.js";
import { zone, zoneSwitch } from "./zone.js";
import { compare } from "./views/compare.js";
import { conversations } from "./views/conversations.js";
import { deadLetters } from "./views/dead-letters.js";
import { events } from "./views/events.js";
import { oneEvent } from "./views/one-event.js";
import { login } from "./views/login.js";
import { moment } from "./views/moment.js";
import { now } from "./views/now.js";
import { preferences } from "./views/preferences.js";

/**
 * @typedef {(root: HTMLElement, params: URLSearchParams, over: AbortSignal) => any} View
 * @type {Record<string, [string, View]>}
 */
const VIEWS = {
  now: ["Now", now],
  events: ["Events", events],
  moment: ["Moment", moment],
  conversations: ["Conversations", conversations],
  preferences: ["Preferences", preferences],
  "dead-letters": ["Dead letters", deadLetters],
};
/** Views that others lead to. @type {Record<string, [string, View]>} */
const FURTHER = { compare: ["What changed", compare] };

/** @param {string} id @returns {any} */
const byId = (id) => document.getElementById(id);
const content = byId("content");
/** What goes on while somebody is logged in. */
let inside = new AbortController();
let title = "";
let alerts = 0;
/** @type {{name: string, over: AbortController, update?: (params: URLSearchParams) => void}|null} */
let shown = null;

function leave() {
  settle();
  shown?.over.abort();
  shown = null;
}

function show() {
  if (!token.get()) {
    showLogin();
    return;
  }
  const { name: asked, id, params } = place();
  const views = { ...VIEWS, ...FURTHER };
  const name = Object.hasOwn(views, asked) ? asked : "now";
  const one = name === "events" && id ? id : "";
  for (const anchor of byId("nav").children) {
    if (anchor.dataset.view === name) anchor.setAttribute("aria-current", "page");
    else anchor.removeAttribute("aria-current");
  }
  if (shown?.name === name && shown.update && !one) {
    shown.update(params);
    return;
  }
  const moved = shown !== null;
  leave();
  const over = new AbortController();
  const [words, view] = views[name];
  title = one ? `Event ${one}` : words;
  entitle();
  const heading = h("h1", { tabindex: "-1" }, title);
  content.replaceChildren(heading);
  shown = { name, over };
  // The view may know a better place.
  if (moved) {
    heading.focus({ preventScroll: true });
    scrollTo(0, 0);
  }
  if (one) oneEvent(content, one, over.signal);
  else shown.update = view(content, params, over.signal);
}

/** A tab among others says what is wrong, too. */
function entitle() {
  const away = pulse.condition().name === "away" ? "away · " : "";
  document.title = `${alerts ? `(${alerts}) ` : ""}${away}${title} · jarvis recorder`;
}

function showLogin() {
  leave();
  inside.abort();
  live.stop();
  pulse.stop();
  byId("top").hidden = true;
  byId("away").hidden = true;
  document.title = "Log in · jarvis recorder";
  content.replaceChildren();
  login(content, enter);
}

function enter() {
  leave();
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
  show();
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
themeSwitch(byId("theme"));
zoneSwitch(byId("zone"));
zone.addEventListener("change", () => {
  leave();
  show();
  showCondition();
});
pulse.pulse.addEventListener("change", () => token.get() && showCondition());
state.addEventListener("login", () => (token.get() ? enter() : showLogin()));
addEventListener("hashchange", show);
keepAges();
if (token.get()) enter();
else showLogin();
