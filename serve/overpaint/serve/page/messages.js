// What the page says: what went wrong, in a sentence that says what to do, and aloud.

import { Problem } from "./api.js";
import { $ } from "./dom.js";

/** To screen readers. */
export function say(text) {
  $("live").textContent = text;
}

export function sentence(problem, limits) {
  if (!(problem instanceof Problem)) return `This page made a mistake: ${problem.message}`;
  switch (problem.status) {
    case 0:
      return "The server does not answer. Is it still running?";
    case 413:
      return `This picture is too large: ${most(limits)} are the most.`;
    case 415:
      return "This is not a picture that can be read. PNG, JPEG and WEBP work.";
    case 500:
      return `Something broke on the server. Its log has it under ${problem.id}.`;
    default:
      return problem.message ? asSentence(problem.message) : `The server answered ${problem.status}.`;
  }
}

function most({ upload_bytes: bytes = 1e7, upload_pixels: pixels = 16e6 } = {}) {
  return `${Math.round(bytes / 1e6)} MB and ${Math.round(pixels / 1e6)} megapixels`;
}

export const asSentence = (text) => `${text[0].toUpperCase()}${text.slice(1).replace(/[.\s]+$/, "")}.`;
