/** The page put together: who looks, which view, whether the recorder answers. */

import { state, token } from "./api.js";
import { h } from "./dom.js";
import { live, start, stop } from "./live.js";
import { link, place } from "./router.js";
import { themeSwitch } from "./theme.js";
import { conversations } from "./views/conversations.js";
import { deadLetters } from "./views/dead-letters.js";
import { events } from "./views/events.js";
import { login } from "./views/login.js";
import { moment } from "./views/moment.js";
import { now } from "./views/now.js";
import { preferences } from "./views/preferences.js";

const VIEWS = {
  now: ["Now", now],
  events: ["Events", events],
  moment: ["Moment", moment],
  conversations: ["Conversations", conversations],
  preferences: ["Preferences", preferences],
  "dead-letters": ["Dead letters", deadLetters],
};

const byId = (id) => document.getElementById(id);
const content = byId("content");
/** @type {{name: string, over: AbortController, update?: (params: URLSearchParams) => void}|null} */
let shown = null;

function leave() {
  shown?.over.abort();
  shown = null;
}

function show() {
  if (!token.get()) {
    showLogin();
    return;
  }
  const { name: asked, params } = place();
  const name = Object.hasOwn(VIEWS, asked) ? asked : "now";
  for (const anchor of byId("nav").children) {
    if (anchor.dataset.view === name) anchor.setAttribute("aria-current", "page");
    else anchor.removeAttribute("aria-current");
  }
  if (shown?.name === name && shown.update) {
    shown.update(params);
    return;
  }
  const moved = shown !== null;
  leave();
  const over = new AbortController();
  const [title, view] = VIEWS[name];
  document.title = `${title} · jarvis recorder`;
  const heading = h("h1", { tabindex: "-1" }, title);
  content.replaceChildren(heading);
  shown = { name, over };
  shown.update = view(content, params, over.signal);
  if (moved) {
    heading.focus({ preventScroll: true });
    scrollTo(0, 0);
  }
}

function showLogin() {
  leave();
  stop();
  byId("top").hidden = true;
  byId("away").hidden = true;
  document.title = "Log in · jarvis recorder";
  content.replaceChildren();
  login(content, enter);
}

function enter() {
  byId("top").hidden = false;
  start();
  show();
}

byId("nav").append(
  ...Object.entries(VIEWS).map(([name, [title]]) =>
    h("a", { href: link(name), "data-view": name }, title),
  ),
);
byId("skip").addEventListener("click", (event) => {
  event.preventDefault();
  content.focus();
});
byId("logout").addEventListener("click", () => {
  token.forget();
  showLogin();
});
themeSwitch(byId("theme"));
live.addEventListener("state", ({ detail }) => {
  byId("live").textContent = detail;
  byId("live").dataset.state = detail;
});
state.addEventListener("login", showLogin);
state.addEventListener("away", ({ detail }) => {
  byId("away").textContent = `The recorder is away: ${detail} This page goes on trying.`;
  byId("away").hidden = false;
});
state.addEventListener("back", () => {
  byId("away").hidden = true;
});
addEventListener("hashchange", show);
if (token.get()) enter();
else showLogin();
