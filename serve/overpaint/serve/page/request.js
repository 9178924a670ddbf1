// The form as the API takes it, and back.

import { planned } from "./plan.js";

/** The job to submit, but for the id of its picture's upload. */
export function requestOf(state, seed) {
  const { form, model, picture } = state;
  const request = { model: model.name, prompt: form.prompt.trim(), n: form.n, seed, sampler: form.sampler };
  if (form.avoid.trim()) request.negative_prompt = form.avoid.trim();
  if (!picture) return { ...request, size: form.size, steps: form.steps, guidance_scale: form.guidance };
  if (form.mode === "copy") return { ...request, mode: "copy" };
  const worded = form.styles.filter((row) => row.on && row.words.trim());
  return {
    ...request,
    mode: "modify",
    styles: Object.fromEntries(worded.map((row) => [row.name, row.words.trim()])),
    strength: planned(state).strength,
    steps: form.steps,
    guidance_scale: form.guidance,
  };
}

/** The form that asks for this result once more; what the request left open stays as it is. */
export function formOf({ asked, seed }, form) {
  const styles = form.styles.map((row) => ({
    ...row,
    on: row.name in (asked.styles ?? {}),
    words: asked.styles?.[row.name] ?? row.words,
  }));
  return {
    prompt: asked.prompt,
    mode: asked.mode ?? form.mode,
    strength: asked.strength ?? form.strength,
    steps: asked.steps ?? form.steps,
    guidance: asked.guidance_scale ?? form.guidance,
    sampler: asked.sampler,
    size: asked.size ?? form.size,
    n: asked.n,
    seed: String(seed),
    locked: true,
    avoid: asked.negative_prompt ?? "",
    styles: asked.styles ? styles : form.styles,
  };
}
