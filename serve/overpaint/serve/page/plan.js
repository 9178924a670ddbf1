// What the settings amount to: steps, strength, time and sizes.

/** Steps that strength `s` runs out of `n`, in the doubles that the server computes in. */
export function stepsOf(s, n, rounding) {
  const share = Math.min(n * s, n);
  return rounding === "up" ? n - Math.trunc(n - share) : Math.trunc(share);
}

/** The shortest strength that runs exactly `k` of `n` steps: 29/50 would lose one to rounding. */
export function strengthFor(k, n, rounding) {
  const near = [2, 3, 4].flatMap((digits) => {
    const at = Math.round((k / n) * 10 ** digits);
    return [at, at + 1, at - 1].map((tried) => tried / 10 ** digits);
  });
  return near.find((s) => s <= 1 && stepsOf(s, n, rounding) === k) ?? k / n;
}

/** What would run now: {k, n, strength, guidance} for the words and for the request alike. */
export function planned({ form, model, server, picture, live }) {
  const { steps: n, strength, guidance } = form;
  if (!picture && !live.on) return { k: n, n, strength: null, guidance };
  if (form.mode === "copy" && !live.on) {
    const copy = server?.modes?.copy ?? { strength: 0.05, steps: 15, guidance_scale: 1 };
    return { k: copy.steps, n: copy.steps, strength: copy.strength, guidance: copy.guidance_scale };
  }
  const rounding = model?.steps?.rounding;
  const k = stepsOf(strength, n, rounding);
  return k > 0 ? { k, n, strength, guidance } : { k: 1, n, strength: strengthFor(1, n, rounding), guidance };
}

/** "60 % · 12 of 20 steps · about 4 s" */
export function reading(state) {
  const { k, n, strength } = planned(state);
  if (state.live.on) return `${Math.round(strength * 100)} %`;
  const seconds = expected(state);
  return [
    strength === null ? null : `${Math.round(strength * 100)} %`,
    k === n ? `${n} steps` : `${k} of ${n} steps`,
    seconds === null ? null : `about ${duration(seconds)}`,
  ]
    .filter(Boolean)
    .join(" · ");
}

/** Seconds it should take, by this page's own measurement or else the server's; null: not known. */
function expected(state) {
  const { form, model, pace } = state;
  const { k, guidance } = planned(state);
  const own = pace[model?.name];
  if (own) {
    const calls = k * (guidance > 1 ? 2 : 1);
    return own.words + (own.step * calls + own.other) * form.n * (area(state) / own.pixels);
  }
  if (!model?.pace) return null;
  const { step_s: step, other_s: other, pixels } = model.pace;
  return (step * k + other) * form.n * (area(state) / pixels);
}

/** Pixels of what will be painted; the server shrinks to `upload_side`. */
function area({ form, picture, server }) {
  const { width, height } = picture ?? sizeOf(form);
  const scale = Math.min(1, (server.limits?.upload_side ?? Infinity) / Math.max(width, height));
  return width * height * scale * scale;
}

export function duration(seconds) {
  if (seconds < 1.5) return "a second";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  return `${Math.round(seconds / 60)} min`;
}

/** {width, height} of what words alone are painted at. */
export function sizeOf({ size }) {
  const [width, height] = size.split("x").map(Number);
  return { width, height };
}

/** [value, text] of the model's own square, two oblongs of the same area, and the last picture's size. */
export function sizesOf(model, original) {
  if (!model) return [];
  const { multiple, minimum, maximum, default: common } = model.sizes;
  const snap = (side) => Math.max(minimum, Math.min(maximum, Math.round(side / multiple) * multiple));
  const sizes = new Map();
  const add = (text, width, height) => {
    const size = `${snap(width)}x${snap(height)}`;
    if (!sizes.has(size)) sizes.set(size, `${text}, ${snap(width)} × ${snap(height)}`);
  };
  add("Square", common.width, common.height);
  add("Landscape", common.width * 1.22, common.height * 0.82);
  add("Portrait", common.width * 0.82, common.height * 1.22);
  if (original) add("Like your picture", original.width, original.height);
  return [...sizes];
}
