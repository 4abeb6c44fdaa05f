import assert from "node:assert/strict";
import { test } from "node:test";
import { search, settled, tiles } from "./browser.js";
import { at, daemon, open } from "./house.js";

const CIRCLE = "a red circle moves to the right";

test("the start page shows examples, and an example is a search", () =>
  at("/", async (page) => {
    await page.waitForSelector(".examples .tile");
    assert.match(await page.textContent(".about"), /knows only drawn shapes/);
    const example = page.locator(".examples .tile-link").first();
    const text = await example.locator(".tile-name").textContent();
    await example.click();
    await page.waitForURL((url) => url.searchParams.get("q") === text);
    await settled(page);
    assert.equal(await page.inputValue("#query"), text);
  }));

test("results appear as one stops typing", () =>
  at("/", async (page) => {
    await page.keyboard.press("/");
    await page.keyboard.type(CIRCLE);
    await page.waitForURL((url) => url.searchParams.get("q") === CIRCLE);
    await settled(page);
    assert.match((await tiles(page))[0], /^tape\.mp4, 0:0[3-6] – 0:1/);
    assert.match(await page.textContent(".tile-score"), /^score 0\.\d\d$/);
    const loaded = await page.waitForFunction(() => document.querySelector(".tile img")?.naturalWidth);
    assert.ok((await loaded.jsonValue()) > 0, "no picture");
    assert.equal(await page.title(), `${CIRCLE} – clipseek`);
  }));

test("the back button leaves the search, not its letters", () =>
  at("/", async (page) => {
    await page.locator("#query").pressSequentially("a red circle", { delay: 160 });
    await settled(page);
    await page.goBack();
    await page.waitForSelector(".examples");
    assert.equal(new URL(page.url()).search, "");
  }));

test("filters are chips in the address", () =>
  at("/", async (page) => {
    await search(page, "an orange heart");
    await page.click(".chip-add");
    await page.click(".menu-kind:has-text('Path')");
    await page.keyboard.type("h264.mp4");
    await page.keyboard.press("Enter");
    await page.waitForURL((url) => url.searchParams.get("path") === "h264.mp4");
    await settled(page);
    const found = await tiles(page);
    assert.ok(found.length > 0 && found.every((name) => name.startsWith("h264.mp4")), found.join("\n"));
    await page.goBack();
    await page.waitForURL((url) => !url.searchParams.has("path"));
    assert.equal(await page.locator(".chip-key").count(), 0);
    await page.goForward();
    await page.click("[aria-label='Take off: Path h264.mp4']");
    await page.waitForURL((url) => !url.searchParams.has("path"));
  }));

test("a source is chosen from those that there are", () =>
  at("/?q=a+red+circle", async (page) => {
    const {
      sources: [{ name }],
    } = await daemon.get("/v1/sources");
    await page.click(".chip-add");
    await page.click(".menu-kind:has-text('Source')");
    await page.click(`#filter-menu .menu-kind:has-text('${name}')`);
    await page.waitForURL((url) => url.searchParams.get("source") === name);
    await settled(page);
    assert.ok((await tiles(page)).length > 0);
  }));

test("a shared address shows the same in another browser", () =>
  at(`/?q=${CIRCLE.replaceAll(" ", "+")}&path=tape.mp4`, async (page) => {
    await settled(page);
    const found = await tiles(page);
    await open(page.url(), async (other) => {
      await settled(other);
      assert.deepEqual(await tiles(other), found);
      assert.equal(await other.inputValue("#query"), CIRCLE);
      assert.equal(await other.textContent(".chip-value"), "tape.mp4");
    });
  }));

test("a picture is dropped", () =>
  at("/?q=an+orange+heart+shrinks", async (page) => {
    await settled(page);
    const [wanted] = await tiles(page);
    await page.evaluate(async () => {
      const picture = await (await fetch(document.querySelector(".tile img").src)).blob();
      const data = new DataTransfer();
      data.items.add(new File([picture], "heart.jpg", { type: "image/jpeg" }));
      dispatchEvent(new DragEvent("dragover", { dataTransfer: data, bubbles: true, cancelable: true }));
      dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
    });
    await page.waitForURL((url) => url.searchParams.has("picture") && !url.searchParams.has("q"));
    await settled(page);
    const found = (await tiles(page)).slice(0, 5);
    assert.ok(
      found.some((label) => label.split(",")[0] === wanted.split(",")[0]),
      found.join("\n"),
    );
    await page.reload();
    await settled(page);
    assert.ok((await tiles(page)).length > 0, "loaded again, the tab still has its picture");
    // The address alone does not carry the picture, and says so.
    await open(page.url(), async (other) => {
      await other.waitForSelector(".refusal");
      assert.match(await other.textContent(".refusal"), /stays in the browser tab/);
    });
  }));

test("more like this", () =>
  at(`/?q=${CIRCLE.replaceAll(" ", "+")}`, async (page) => {
    await settled(page);
    const ids = () => page.$$eval(".results .tile", (all) => all.map(({ dataset }) => dataset.id));
    const [first] = await ids();
    await page.hover(".tile");
    await page.click(".tile [aria-label^='More like']");
    await page.waitForURL((url) => url.searchParams.has("like"));
    await settled(page);
    const found = await ids();
    assert.ok(found.length > 1);
    assert.equal(found[0], first, "nothing is more like a moment than itself");
    assert.match(await page.textContent("#field-picture"), /More like this/);
  }));

test("arrows walk over the wall", () =>
  at("/?q=a+star", async (page) => {
    await settled(page);
    await page.keyboard.press("/");
    await page.keyboard.press("ArrowDown");
    const focused = () => page.evaluate(() => [...document.querySelectorAll(".tile-link")].indexOf(document.activeElement));
    assert.equal(await focused(), 0);
    await page.keyboard.press("ArrowRight");
    assert.equal(await focused(), 1);
    await page.keyboard.press("ArrowDown");
    assert.ok((await focused()) > 1);
    await page.keyboard.press("ArrowUp");
    await page.keyboard.press("ArrowLeft");
    await page.keyboard.press("ArrowUp");
    assert.equal(await page.evaluate(() => document.activeElement.id), "query");
  }));

test("resting on a moment plays it", () =>
  at(
    "/?q=a+star",
    async (page) => {
      await settled(page);
      await page.hover(".tile-link");
      await page.waitForSelector(".tile .preview.shown");
      const { src, muted, width } = await page.$eval(".preview", ({ src, muted, videoWidth }) => ({
        src,
        muted,
        width: videoWidth,
      }));
      assert.match(src, /\/v1\/moments\/[^/]+\/preview/);
      assert.ok(muted && width > 0 && width <= 320);
      await page.mouse.move(0, 0);
      await page.waitForSelector(".preview", { state: "detached" });
    },
    { reducedMotion: "no-preference" },
  ));

test("the wall goes on where it ends", () =>
  at("/?q=a+star", async (page) => {
    await settled(page);
    const many = await page.locator(".results .tile").count();
    for (let i = 0; i < 12; i++) await page.mouse.wheel(0, 4000);
    await page.waitForFunction((before) => document.querySelectorAll(".results .tile").length > before, many);
    const ids = await page.$$eval(".results .tile", (all) => all.map(({ dataset }) => dataset.id));
    assert.equal(new Set(ids).size, ids.length, "a moment is there twice");
  }));

test("what cannot be searched is said in the daemon's words", () =>
  at("/?q=a+star&after=yesterday", async (page, errors) => {
    await page.waitForSelector(".refusal");
    assert.match(await page.textContent(".refusal"), /not a time such as/);
    // The browser notes the refused request.
    assert.equal(errors.splice(0).length, 1);
  }));
