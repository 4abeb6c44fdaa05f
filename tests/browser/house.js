// What each file of tests begins with: a daemon, a browser, and ways to open pages. Every file has a process of its own.

import { after, before } from "node:test";
import { launch, visit } from "./browser.js";
import { Daemon } from "./daemon.js";

export const daemon = new Daemon();
let browser;
before(async () => {
  await daemon.start();
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await daemon.stop();
});

/// Opens a path of the daemon.
export const at = (path, then, options) => open(daemon.url + path, then, options);
/// Opens an address.
export const open = (address, then, options) => visit(browser, address, then, options);
