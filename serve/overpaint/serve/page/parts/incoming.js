// Pictures come in: picked, pasted or dropped anywhere.

import { $ } from "../dom.js";
import { say } from "../messages.js";
import { settingsIn } from "../painted.js";
import { fitted } from "../pictures.js";

export function incoming(store, api, album) {
  const bring = (file) => file && take(file, store, api, album);

  $("file").addEventListener("change", ({ target }) => {
    bring(target.files[0]);
    target.value = ""; // so that the same file can be picked again
  });
  window.addEventListener("paste", (event) => {
    const file = imageIn(event.clipboardData);
    if (!file) return;
    event.preventDefault();
    bring(file);
  });
  window.addEventListener("dragover", (event) => {
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    if (!store.state.dragging) store.change({ dragging: true });
  });
  window.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) store.change({ dragging: false });
  });
  window.addEventListener("drop", (event) => {
    event.preventDefault();
    store.change({ dragging: false });
    bring(imageIn(event.dataTransfer));
  });

  return ({ dragging }) => document.body.toggleAttribute("data-dragging", dragging);
}

async function take(file, store, api, album) {
  try {
    const large = await album.open(file);
    const { blob, why } = await fitted(large, store.state.server?.limits);
    const picture = why ? await album.open(blob) : large;
    const settings = await settingsIn(file, api.infotext);
    const text = [why, settings && carries(settings)].filter(Boolean).join(" ");
    const notice = text ? { kind: "note", text, settings } : null;
    store.change({ picture, original: picture, at: null, notice });
    album.release(store.state);
    say(`Your picture is here: ${picture.width} by ${picture.height} pixels.`);
  } catch {
    const name = file.name || "This";
    const text = `${name} is not a picture that can be read. PNG, JPEG and WEBP work.`;
    store.change({ notice: { kind: "error", text } });
  }
}

function carries({ prompt, seed }) {
  const words = prompt.length > 80 ? `${prompt.slice(0, 80)}…` : prompt;
  return `This picture says what it was made with: “${words}”${seed == null ? "" : `, seed ${seed}`}.`;
}

const imageIn = (data) =>
  [...(data?.files ?? [])].find((file) => file.type.startsWith("image/")) ?? data?.files?.[0];
