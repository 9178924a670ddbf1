// What a picture of ours says of itself: a PNG's text chunk `overpaint` is JSON, by the API's names.

const SIGNATURE = [0x89504e47, 0x0d0a1a0a];
// Of an iTXt chunk that is not compressed: keyword, flag, method, language and the keyword translated.
const HEAD = /^overpaint\0\0[^][^\0]*\0[^\0]*\0/;

/** The settings in the file `blob`; null where it says nothing that can be read. */
export async function settingsIn(blob) {
  const buffer = await blob.arrayBuffer();
  try {
    const view = new DataView(buffer);
    if (SIGNATURE.some((word, i) => view.getUint32(4 * i) !== word)) return null;
    for (let at = 8; at < buffer.byteLength; at += 12 + view.getUint32(at)) {
      const text = itxt(new Uint8Array(buffer, at + 4, 4 + view.getUint32(at)));
      const settings = text && JSON.parse(text, exactly);
      if (typeof settings?.prompt === "string") return settings;
    }
  } catch {} // cut short, or no JSON
  return null;
}

/** The text of the chunk (its type, then its data) if it is ours. */
function itxt(chunk) {
  const letters = new TextDecoder("latin1").decode(chunk.subarray(0, 300));
  const head = letters.startsWith("iTXt") && HEAD.exec(letters.slice(4));
  return head && new TextDecoder().decode(chunk.subarray(4 + head[0].length));
}

/** A number that is too large for a browser stays as it was written; told, it would have other digits. */
const exactly = (_, value, context) =>
  Number.isInteger(value) && !Number.isSafeInteger(value) ? (context?.source ?? "too large") : value;
