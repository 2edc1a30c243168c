// Before the first paint, so that nothing flashes in the other theme.
try {
  const chosen = localStorage.getItem("jarvis.theme");
  if (chosen) document.documentElement.dataset.theme = chosen;
} catch {
  /* without storage the system's theme stays */
}
