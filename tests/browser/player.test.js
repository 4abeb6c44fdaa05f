import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { settled } from "./browser.js";
import { at, open } from "./house.js";

const CIRCLE = "/?q=a+red+circle+moves+to+the+right";

/// Opens the best moment of a search by the keyboard.
async function play(page) {
  await settled(page);
  await page.locator(".tile-link").first().focus();
  await page.keyboard.press("Enter");
  await playing(page);
}

const playing = (page) =>
  page.waitForFunction(() => {
    const video = document.querySelector("#player[open] video");
    return video && video.readyState >= 2 && !video.seeking;
  });

/// Which tile has the focus.
const focused = (page) =>
  page.evaluate(() => [...document.querySelectorAll(".tile-link")].indexOf(document.activeElement));

const time = (page) => page.$eval("#player video", (video) => video.currentTime);
const shownTime = async (page) => Number(await page.getAttribute(".timeline", "aria-valuenow"));

test("Enter plays at the moment, and Esc and back close", () =>
  at(CIRCLE, async (page) => {
    await play(page);
    const { from } = Object.fromEntries(new URL(page.url()).searchParams);
    assert.ok(Math.abs((await time(page)) - Number(from)) < 2, `${await time(page)} is not near ${from}`);
    await page.waitForFunction((start) => document.querySelector("#player video").currentTime > start + 0.3, Number(from));
    await page.keyboard.press("Escape");
    await page.waitForSelector("#player", { state: "hidden" });
    assert.ok(!new URL(page.url()).searchParams.has("play"));
    assert.equal(await focused(page), 0);
    // Gone on to the next moment, the reader is there when the player closes; keys are explained above it too.
    await page.keyboard.press("Enter");
    await playing(page);
    await page.keyboard.press("n");
    await page.waitForSelector(".player-title:has-text('2 of')");
    await page.keyboard.press("?");
    await page.waitForSelector("dialog.keys");
    await page.keyboard.press("Escape");
    await page.waitForSelector("dialog.keys", { state: "detached" });
    await page.keyboard.press("Escape");
    await page.waitForSelector("#player", { state: "hidden" });
    assert.equal(await focused(page), 1);
    await page.click(".tile-link");
    await playing(page);
    await page.goBack();
    await page.waitForSelector("#player", { state: "hidden" });
  }));

test("the timeline shows the score along the whole medium, and a click on it jumps", () =>
  at(CIRCLE, async (page) => {
    await play(page);
    await page.waitForSelector(".graph-line", { state: "attached" });
    const long = Number(await page.getAttribute(".timeline", "aria-valuemax"));
    const real = await page.$eval("#player video", (video) => video.duration);
    assert.ok(Math.abs(long - real) < 1, `${long} is not ${real}`);
    // The highest point of the graph lies in the moment.
    const peak = await page.$eval(".graph-line", (path) => {
      const long = path.getTotalLength();
      const points = Array.from({ length: 2000 }, (_, index) => path.getPointAtLength((index / 2000) * long));
      return points.reduce((a, b) => (b.y < a.y ? b : a)).x / 1000;
    });
    const query = new URL(page.url()).searchParams;
    assert.ok(peak * long >= Number(query.get("from")) && peak * long <= Number(query.get("to")), `${peak * long}`);
    const box = await page.locator(".line").boundingBox();
    await page.mouse.click(box.x + box.width * 0.75, box.y + box.height / 2);
    await page.waitForFunction(
      (wanted) => Math.abs(document.querySelector("#player video").currentTime - wanted) < 3,
      0.75 * long,
    );
    const there = await shownTime(page);
    await page.keyboard.press("ArrowLeft");
    await page.waitForFunction(
      (before) => Number(document.querySelector(".timeline").getAttribute("aria-valuenow")) < before - 2,
      there,
    );
  }));

test("from moment to moment", () =>
  at(CIRCLE, async (page) => {
    await play(page);
    const first = page.url();
    await page.keyboard.press("n");
    await page.waitForURL((url) => url.href !== first);
    await playing(page);
    assert.match(await page.textContent(".player-title"), /2 of \d+/);
    await page.keyboard.press("p");
    await page.waitForURL(first);
    assert.ok(await page.isDisabled("[data-step='-1']"));
  }));

test("a moment is saved as a clip", () =>
  at(
    CIRCLE,
    async (page) => {
      await play(page);
      for (const button of ["Save clip", "Save exactly"]) {
        const [download] = await Promise.all([page.waitForEvent("download"), page.click(`text=${button}`)]);
        assert.match(download.suggestedFilename(), /^tape.*\.mp4$/);
        assert.equal(readFileSync(await download.path()).toString("latin1", 4, 8), "ftyp");
      }
    },
    { acceptDownloads: true },
  ));

test("a shared moment opens in another browser", () =>
  at(CIRCLE, async (page) => {
    await play(page);
    const { from } = Object.fromEntries(new URL(page.url()).searchParams);
    await open(page.url(), async (other) => {
      await playing(other);
      assert.equal(await other.textContent(".player-title h2"), "tape.mp4");
      assert.ok((await time(other)) >= Number(from) - 1);
      await other.waitForSelector(".graph-line", { state: "attached" });
      await other.keyboard.press("Escape");
      await settled(other);
    });
  }));

test("path and play command are copied", () =>
  at(CIRCLE, async (page) => {
    await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
    await play(page);
    await page.click("text=Copy path");
    assert.ok((await page.evaluate(() => navigator.clipboard.readText())).endsWith("/tape.mp4"));
    await page.click("text=Copy command");
    assert.match(
      await page.evaluate(() => navigator.clipboard.readText()),
      /^ffplay -autoexit -ss \d+\.\d -t \d+\.\d .*tape\.mp4$/,
    );
  }));

test("what no browser plays is made playable", () =>
  at("/?q=an+orange+heart&path=*.avi", async (page) => {
    await play(page);
    assert.ok(await page.$eval("#player video", (video) => video.videoWidth > 0));
    assert.match(await page.$eval("#player video", (video) => video.src), /\/v1\/moments\/.*\/video/);
  }));
