// Pictures in memory: {key, blob, url, width, height}, decoded and ready to show.

import { newKey } from "./state.js";

const READABLE = ["image/png", "image/jpeg", "image/webp"];

/** Opens pictures, and lets go of them again: an object URL keeps its picture until it is revoked. */
export function createAlbum() {
  const urls = new Set();
  return {
    /** Throws where the browser cannot read it. */
    async open(blob, key = newKey()) {
      const url = URL.createObjectURL(blob);
      urls.add(url);
      const image = new Image();
      image.src = url;
      await image.decode();
      return { key, blob, url, width: image.naturalWidth, height: image.naturalHeight };
    },
    /** Let go of what this state does not show, and may not show again. */
    release({ picture, original, references, jobs, results }) {
      const from = [...jobs, ...results].map((one) => one.from);
      const seen = jobs.flatMap((one) => one.references ?? []);
      const used = [picture, original, ...references, ...results, ...from, ...seen];
      const kept = new Set(used.map((one) => one?.url));
      for (const url of urls) {
        if (!kept.has(url) && urls.delete(url)) URL.revokeObjectURL(url);
      }
    },
  };
}

/**
 * Cameras make more than the server takes: shrink here, to the side that it would shrink to.
 * Returns {blob, why}; `why`, a sentence about a size, is null where the blob fits as it is.
 */
export async function fitted({ blob, width, height }, limits = {}) {
  const fits =
    blob.size <= (limits.upload_bytes ?? 1e7) && width * height <= (limits.upload_pixels ?? 16e6);
  if (fits && READABLE.includes(blob.type)) return { blob, why: null };
  const scale = Math.min(1, (limits.upload_side ?? 1024) / Math.max(width, height));
  const canvas = new OffscreenCanvas(Math.round(width * scale), Math.round(height * scale));
  const image = await createImageBitmap(blob, {
    resizeWidth: canvas.width,
    resizeHeight: canvas.height,
    resizeQuality: "high",
  });
  canvas.getContext("2d").drawImage(image, 0, 0);
  const why = fits
    ? "Your picture was made a PNG, which the server reads."
    : `Your picture was large; it was shrunk to ${canvas.width} × ${canvas.height}, the most that is painted.`;
  return { blob: await canvas.convertToBlob({ type: "image/png" }), why };
}
