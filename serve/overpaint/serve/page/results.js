// What a finished job gave: one result a picture, and how fast it went.

import { inWords } from "./fields.js";
import { OWN } from "./request.js";

/** Results of `job`, which has `ended`; `pictures` are its media, opened. */
export function resultsOf({ result, fallback, provider, finished_at }, job, pictures) {
  return pictures.map((picture, i) => ({
    ...picture, // key, blob, url, width, height
    job: job.key,
    asked: job.asked,
    from: job.from,
    mask: job.mask,
    made: 1000 * finished_at - i / 1000, // the newest first, and those of one job in their order
    seed: result.seeds[i],
    steps: result.steps_run,
    seconds: result.timings.total,
    device: result.device,
    provider: fallback ? provider : null,
    prompt: result.settings.prompt ?? job.asked.prompt,
    warnings: result.warnings,
  }));
}

/** {step, other, words, pixels}: seconds of one call of the denoiser at so many pixels, of all else that
 * a picture of that size takes, and of reading the prompt. Undefined where no step ran. */
export function paceOf({ steps_run: steps, timings }, asked, pictures) {
  const calls = steps * pictures.length * ((asked.guidance_scale ?? 1) > 1 ? 2 : 1);
  if (!calls) return undefined;
  const { total, load, text, denoise } = timings;
  const [{ width, height }] = pictures;
  return {
    step: denoise / calls,
    other: (total - load - text - denoise) / pictures.length,
    words: text,
    pixels: width * height,
  };
}

/** "60 % · 12 steps · guidance 7.5 · seed 7 · 256 × 192 · 3.2 s on cpu" */
export function describe({ asked, mask, seed, steps, seconds, device, provider, width, height }) {
  return [
    manner(asked),
    mask && "a part",
    asked.mask_blur && `feather ${asked.mask_blur}`,
    `${steps} steps`,
    asked.guidance_scale == null ? null : `guidance ${asked.guidance_scale}`,
    asked.sampler === "default" ? null : asked.sampler,
    ...further(asked),
    `seed ${seed}`,
    `${width} × ${height}`,
    `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s${device ? ` on ${device}` : ""}`,
    provider ? `by ${provider}` : null,
  ]
    .filter(Boolean)
    .join(" · ");
}

const further = (asked) =>
  Object.entries(asked)
    .filter(([name]) => !OWN.has(name))
    .map(([name, value]) => (value === true ? inWords(name) : `${inWords(name)} ${value}`));

function manner({ mode, strength }) {
  if (mode === "copy") return "copy";
  return strength == null ? "from words" : `${Math.round(strength * 100)} %`;
}
