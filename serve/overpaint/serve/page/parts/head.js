// Which model paints, and on what.

import { $, offer, set } from "../dom.js";

export function head(store) {
  $("model").addEventListener("change", ({ target }) => {
    store.change(chosen(store.state, target.value));
  });

  return ({ server, model, results }) => {
    const models = server?.models ?? [];
    const alone = models.length < 2;
    $("model-choice").hidden = alone;
    const names = models.map(({ name }) => [name, name]);
    offer($("model"), names, model?.name);
    const device = model?.device ?? results[0]?.device;
    set($("device"), { textContent: model ? [alone && model.name, device].filter(Boolean).join(" · ") : "" });
  };
}

/** The state with the model of that name, and with its own defaults in the form. */
export function chosen({ server, form }, name) {
  const model = server.models.find((one) => one.name === name);
  const { strength, steps, guidance_scale: guidance, sampler } = model.defaults;
  const { width, height } = model.sizes.default;
  return { model, form: { ...form, strength, steps, guidance, sampler, size: `${width}x${height}` } };
}
