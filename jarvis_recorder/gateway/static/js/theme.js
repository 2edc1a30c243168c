/** Light, dark, or as the system says. */

const ORDER = ["system", "light", "dark"];

/** Says "change" when the colours did. */
export const theme = new EventTarget();

/** @param {HTMLElement} button */
export function themeSwitch(button) {
  const root = document.documentElement;
  const say = () => {
    const name = root.dataset.theme ?? "system";
    button.textContent = { system: "◐", light: "○", dark: "●" }[name] ?? "◐";
    button.title = `Theme: ${name}`;
    button.setAttribute("aria-label", `Theme: ${name}`);
  };
  button.addEventListener("click", () => {
    const next = ORDER[(ORDER.indexOf(root.dataset.theme ?? "system") + 1) % ORDER.length];
    if (next === "system") {
      delete root.dataset.theme;
      localStorage.removeItem("jarvis.theme");
    } else {
      root.dataset.theme = next;
      localStorage.setItem("jarvis.theme", next);
    }
    say();
    theme.dispatchEvent(new Event("change"));
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () =>
    theme.dispatchEvent(new Event("change")),
  );
  say();
}
