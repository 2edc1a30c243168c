// Loaded by Playwright's driver before its own code (NODE_OPTIONS=--require). It drives Debian's Firefox
// over WebDriver BiDi, and sends commands that a Firefox of Debian does not know yet: to each page the one
// for prefers-color-scheme, and once the one that keeps the bodies of answers. Without them nothing in
// the tests of both browsers is missing.
const { readFileSync } = require("node:fs");
const Module = require("node:module");

const COMMANDS = [
  [/await this\.[\w.]+\.send\("emulation\.setMediaFeaturesOverride"/g, 'void ("not sent"'],
  [
    /await browser\._browserSession\.send\("network\.addDataCollector"/g,
    'await ((...sent) => browser._browserSession.send(...sent).catch(() => {}))("network.addDataCollector"',
  ],
];
const load = Module._extensions[".js"];

Module._extensions[".js"] = (module, name) => {
  if (!name.endsWith("coreBundle.js")) return load(module, name);
  let text = readFileSync(name, "utf8");
  for (const [sent, instead] of COMMANDS) {
    if (text.search(sent) < 0) throw new Error(`${name} sends no ${sent}: is it still needed?`);
    text = text.replace(sent, instead);
  }
  module._compile(text, name);
};
