// Loaded by Playwright's driver before its own code (NODE_OPTIONS=--require). It drives Debian's Firefox
// over WebDriver BiDi, and sends each page a command that this Firefox does not know yet: the one for
// prefers-color-scheme, without which nothing in the tests of both browsers is missing.
const { readFileSync } = require("node:fs");
const Module = require("node:module");

const SENT = /await this\.[\w.]+\.send\("emulation\.setMediaFeaturesOverride"/g;
const load = Module._extensions[".js"];

Module._extensions[".js"] = (module, name) => {
  if (!name.endsWith("coreBundle.js")) return load(module, name);
  const text = readFileSync(name, "utf8");
  if (!SENT.test(text)) throw new Error(`${name} sends no such command: is this file still needed?`);
  module._compile(text.replace(SENT, 'void ("not sent"'), name);
};
