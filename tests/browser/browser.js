// Debian's Chromium, and pages whose errors fail the test that opened them.

import assert from "node:assert/strict";
import { chromium } from "playwright-core";

export function launch() {
  const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
  // Root has no sandbox in Chromium; the pages are our own.
  const args = process.getuid() === 0 ? ["--no-sandbox"] : [];
  return chromium.launch({ executablePath, args });
}

/// Opens an address in a browser of its own (nothing kept of others), calls `then(page)`, and looks for errors.
export async function visit(browser, address, then, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, reducedMotion: "reduce", ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  const errors = [];
  page.on("pageerror", (error) => errors.push(error.message));
  page.on("console", (message) => message.type() === "error" && errors.push(`${message.text()} ${message.location().url}`));
  page.on("request", (request) => {
    const { protocol, origin } = new URL(request.url());
    if (protocol.startsWith("http") && origin !== new URL(address).origin)
      errors.push(`asked another host: ${request.url()}`);
  });
  try {
    await page.goto(address);
    await then(page, errors);
    assert.deepEqual(errors, []);
  } finally {
    await context.close();
  }
}

/// The moments on the wall: name and time.
export const tiles = (page) =>
  page
    .locator(".results .tile-link")
    .evaluateAll((links) =>
      links.map(
        (link) => `${link.querySelector(".tile-name").textContent}, ${link.querySelector(".tile-when").textContent}`,
      ),
    );

export async function search(page, text) {
  await page.fill("#query", text);
  await page.waitForURL((url) => url.searchParams.get("q") === text);
  await settled(page);
}

/// The answer is on the wall.
export const settled = (page) =>
  page.waitForFunction(() => {
    const results = document.querySelector(".results:not(.is-waiting)");
    return results?.querySelector(".tile, .refusal");
  });
