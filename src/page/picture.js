// A picture to search by: chosen, dropped or pasted. It is made small here, because no model looks at more, and kept for
// this tab, so that going back and loading again find it.

import { $ } from "./dom.js";
import { say } from "./notice.js";

/// More pixels than any model takes.
const LONGEST_SIDE = 640;
/// The store of a tab is limited.
const MOST_KEPT = 12;

const made = new Map();

/// The kept picture as `{blob, url}`; null: another tab has it, or it was long ago.
export function kept(key) {
  if (!made.has(key)) {
    const text = sessionStorage.getItem(`picture:${key}`);
    if (!text) return null;
    const blob = new Blob([Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0))], { type: "image/jpeg" });
    made.set(key, { blob, url: URL.createObjectURL(blob) });
  }
  return made.get(key);
}

async function keep(file) {
  const blob = await smaller(file);
  const key = Date.now().toString(36);
  made.set(key, { blob, url: URL.createObjectURL(blob) });
  const bytes = new Uint8Array(await blob.arrayBuffer());
  const text = btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
  const keys = Object.keys(sessionStorage).filter((name) => name.startsWith("picture:")).sort();
  keys.slice(0, -MOST_KEPT).forEach((name) => sessionStorage.removeItem(name));
  try {
    sessionStorage.setItem(`picture:${key}`, text);
  } catch {
    // No room, or not allowed: then the picture lives for as long as the page does.
  }
  return key;
}

async function smaller(file) {
  const bitmap = await createImageBitmap(file);
  const scale = Math.min(1, LONGEST_SIDE / Math.max(bitmap.width, bitmap.height));
  const canvas = new OffscreenCanvas(Math.max(1, bitmap.width * scale), Math.max(1, bitmap.height * scale));
  const context = canvas.getContext("2d");
  // JPEG knows no transparency: what is transparent would become black.
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return canvas.convertToBlob({ type: "image/jpeg", quality: 0.9 });
}

/// `then(key)` is called for each picture that the reader gives.
export function takePictures(then) {
  const take = async (file) => {
    try {
      then(await keep(file));
    } catch {
      say("This is no picture that the browser can read: use JPEG, PNG or WebP", { error: true });
    }
  };
  const chooser = $("#picture-file");
  $("#by-picture").addEventListener("click", () => chooser.click());
  chooser.addEventListener("change", () => {
    if (chooser.files[0]) take(chooser.files[0]);
    chooser.value = "";
  });
  addEventListener("paste", (event) => {
    const file = [...(event.clipboardData?.files ?? [])].find((one) => one.type.startsWith("image/"));
    if (file) take(file);
  });
  takeDropped(take);
}

function takeDropped(take) {
  const curtain = $("#drop");
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    curtain.hidden = false;
  });
  addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) curtain.hidden = true;
  });
  addEventListener("drop", (event) => {
    curtain.hidden = true;
    if (!hasFiles(event)) return;
    event.preventDefault();
    take(event.dataTransfer.files[0]);
  });
}
