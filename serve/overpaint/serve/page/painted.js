// What a picture says of itself: a PNG's text chunk `overpaint` is JSON, by the API's names; `parameters`
// has AUTOMATIC1111's lines, which the server reads.

const SIGNATURE = [0x89504e47, 0x0d0a1a0a];
// A chunk's type, and before its text: of an iTXt that is not compressed keyword, flag, method, language
// and the keyword translated; of a tEXt, which is Latin-1, the keyword.
const HEADS = [
  [/^iTXt(overpaint|parameters)\0\0[^][^\0]*\0[^\0]*\0/, new TextDecoder()],
  [/^tEXt(parameters)\0/, new TextDecoder("latin1")],
];

/**
 * The settings in the file `blob`; null where it says nothing that can be read. `read`: what the server
 * answers to AUTOMATIC1111's lines, as text.
 */
export async function settingsIn(blob, read) {
  const { overpaint, parameters } = textsIn(await blob.arrayBuffer());
  try {
    const settings = overpaint && JSON.parse(overpaint, exactly);
    if (typeof settings?.prompt === "string") return settings;
    const said = parameters && JSON.parse(await read(parameters), exactly);
    if (said?.settings.steps) return { model: said.other.Model, ...said.settings, prompt: said.prompt };
  } catch {} // no JSON, or no server
  return null;
}

/** The texts of a PNG, by their keywords; as many as can be read of a file that is cut short. */
function textsIn(buffer) {
  const texts = {};
  try {
    const view = new DataView(buffer);
    if (SIGNATURE.some((word, i) => view.getUint32(4 * i) !== word)) return texts;
    for (let at = 8; at < buffer.byteLength; at += 12 + view.getUint32(at)) {
      const chunk = new Uint8Array(buffer, at + 4, 4 + view.getUint32(at));
      const letters = new TextDecoder("latin1").decode(chunk.subarray(0, 300));
      for (const [head, decoder] of HEADS) {
        const found = head.exec(letters);
        if (found) texts[found[1]] = decoder.decode(chunk.subarray(found[0].length));
      }
    }
  } catch {} // cut short
  return texts;
}

/** A number that is too large for a browser stays as it was written; told, it would have other digits. */
const exactly = (_, value, context) =>
  Number.isInteger(value) && !Number.isSafeInteger(value) ? (context?.source ?? "too large") : value;
