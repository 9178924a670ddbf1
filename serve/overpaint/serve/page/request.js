// The form as the API takes it, and back.

import { isOfMask, maskOf } from "./mask.js";
import { planned } from "./plan.js";

/** What the form has controls of its own for, or leaves to the server. All else is in `form.further`. */
export const OWN = new Set(
  `prompt image model styles strength reference_strength mode preset steps steps_mode guidance_scale
  negative_prompt sampler denoising_start denoising_end seed n size resize
  mask mask_from_alpha mask_invert mask_blur extend lora control guess_mode
  ip_adapter_image ip_adapter_mask ip_adapter_scale`.split(/\s+/),
);

/** The job to submit, but for the ids of its picture's and its mask's uploads. */
export function requestOf(state, seed) {
  const { form, model, server, picture } = state;
  const { n, sampler, feather } = form;
  const masked = Boolean(maskOf(state));
  const further = Object.entries(form.further).filter(([name]) => masked || !isOfMask(name));
  const request = { model: model.name, prompt: form.prompt.trim(), n, seed, sampler, ...Object.fromEntries(further) };
  if (masked && feather > 0) request.mask_blur = feather;
  if (referencesOf(state).length > 0) request.ip_adapter_scale = form.seen;
  const turned = turnedOf(state);
  if (Object.keys(turned).length > 0) request.lora = turned;
  const shown = Object.entries(form.control ?? {}).filter(([name]) => controlsOf(state).includes(name));
  if (shown.length > 0) request.control = Object.fromEntries(shown);
  const avoid = form.avoid.trim();
  // Without guidance nothing is avoided, and the server's own words were not asked for.
  if (avoid && (form.guidance > 1 || avoid !== server?.negative_prompt)) request.negative_prompt = avoid;
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

/** The weights of the model's LoRAs, by name: of those that have one. */
export function turnedOf({ form, model }) {
  return Object.fromEntries(Object.entries(form.loras).filter(([name]) => model.loras?.includes(name)));
}

/** The reference pictures that the job goes by: none where the model sees none. */
export const referencesOf = ({ model, references }) => (model?.references ? references : []);

/** The networks that can be shown the picture: those that tell no kinds of it apart. */
export function controlsOf({ model, picture }) {
  const plain = Object.entries(model?.controls ?? {}).filter(([, kinds]) => kinds === null);
  return picture ? plain.map(([name]) => name) : [];
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
    feather: asked.mask_blur ?? 0,
    seen: asked.ip_adapter_scale ?? form.seen,
    control: asked.control ?? {},
    styles: asked.styles ? styles : form.styles,
    loras: asked.lora ?? {},
    further: Object.fromEntries(Object.entries(asked).filter(([name]) => !OWN.has(name))),
  };
}

/**
 * The state in which the form asks for what a picture says of itself: `painted`, as it lies in the file.
 * What cannot be asked for here stays as it is, and is told.
 */
export function paintedAgain(painted, { server, model: now, form, picture, fields }) {
  const model = server.models.find(({ name }) => name === painted.model) ?? now;
  const without = [];
  const take = (name, fits, instead) => {
    if (fits(painted[name])) return painted[name];
    if (painted[name] != null) without.push(`${name} ${painted[name]}`);
    return instead;
  };
  const between = (low, high) => (value) => typeof value === "number" && low <= value && value <= high;
  take("model", (name) => name === model.name);
  take("steps_mode", (mode) => mode === "diffusers");
  const inPrompt = (name) => painted.prompt_weights && painted.prompt.includes(`<lora:${name}`);
  const loras = (painted.loras ?? []).filter(({ name }) => model.loras?.includes(name));
  for (const { name } of painted.loras ?? []) {
    const fused = name.endsWith(".safetensors"); // into the model's own weights
    if (!fused && !loras.some((one) => one.name === name)) without.push(`the LoRA ${name}`);
  }
  if (painted.mask_sha256) without.push("its mask");
  if (painted.ip_adapter_image_sha256?.length > 0) without.push("its reference pictures");
  if (painted.control?.length > 0) without.push("its control networks");
  for (const name of ["refiner", "denoising_start", "denoising_end"]) take(name, () => false);
  const seed = take("seed", (n) => Number.isSafeInteger(n) && n >= 0, null);
  const further = fields
    .map(({ name, fits, fallback }) => [name, take(name, fits, fallback), fallback])
    .filter(([, value, fallback]) => value !== fallback);
  const words = painted.strength == null;
  const asked = {
    ...form,
    prompt: painted.prompt,
    mode: painted.mode === "copy" ? "copy" : "modify",
    strength: take("strength", between(0, 1), form.strength),
    steps: take("steps", (n) => Number.isInteger(n) && between(1, model.steps.maximum)(n), form.steps),
    guidance: take("guidance_scale", between(0, 50), form.guidance),
    sampler: take("sampler", (name) => model.samplers.includes(name), form.sampler),
    avoid: take("negative_prompt", (text) => typeof text === "string", ""),
    size: take("size", (size) => size?.length === 2 && size.every(Number.isInteger), []).join("x") || form.size,
    seed: seed === null ? "" : String(seed),
    locked: seed !== null,
    n: 1,
    styles: form.styles.map((row) => ({ ...row, on: false })), // the prompt has them already
    loras: Object.fromEntries(
      loras.filter(({ name }) => !inPrompt(name)).map(({ name, weight }) => [name, weight]),
    ),
    further: Object.fromEntries(further),
  };
  const told = [
    words
      ? "Its settings are in the form: it was painted from words alone."
      : "Its settings are in the form. The picture it was made from is not in the file: this repaints the painting.",
    without.length > 0 && `Not to be had here: ${without.join(", ")}.`,
  ];
  const notice = { kind: "note", text: told.filter(Boolean).join(" ") };
  return { model, form: asked, picture: words ? null : picture, at: null, notice };
}
