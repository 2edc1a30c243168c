/** Light, dark, or as the system says. */

export const THEMES = ["system", "light", "dark"];
const KEY = "jarvis.theme";

/** Says "change" when the colours did. */
export const theme = new EventTarget();

export const themeNow = () => document.documentElement.dataset.theme ?? "system";

/** Have these colours now, and whenever the page is opened in this browser. @param {string} name */
export function setTheme(name) {
  const root = document.documentElement;
  if (name === "system") {
    delete root.dataset.theme;
    localStorage.removeItem(KEY);
  } else {
    root.dataset.theme = name;
    localStorage.setItem(KEY, name);
  }
  theme.dispatchEvent(new Event("change"));
}

/** @param {HTMLElement} button */
export function themeSwitch(button) {
  const say = () => {
    const name = themeNow();
    button.textContent = { system: "◐", light: "○", dark: "●" }[name] ?? "◐";
    button.title = `Theme: ${name}`;
    button.setAttribute("aria-label", `Theme: ${name}`);
  };
  button.addEventListener("click", () =>
    setTheme(THEMES[(THEMES.indexOf(themeNow()) + 1) % THEMES.length]),
  );
  theme.addEventListener("change", say);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () =>
    theme.dispatchEvent(new Event("change")),
  );
  say();
}
