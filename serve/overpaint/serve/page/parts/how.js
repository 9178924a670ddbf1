// How much may change: the mode, the strength in whole steps, and the size where words alone paint.

import { $, list, makeButton, offer, set } from "../dom.js";
import { planned, reading, sizesOf, stepsOf, strengthFor } from "../plan.js";

const PRESETS = [
  ["Touch-up", 0.3],
  ["Restyle", 0.6],
  ["Reimagine", 0.85],
];

export function how(store) {
  for (const radio of modes()) {
    radio.addEventListener("change", () => store.changeForm({ mode: radio.value }));
  }
  $("strength").addEventListener("input", ({ target }) => {
    const { form, model } = store.state;
    store.changeForm({ strength: strengthFor(Number(target.value), form.steps, model?.steps?.rounding) });
  });
  $("size").addEventListener("change", ({ target }) => store.changeForm({ size: target.value }));

  return (state) => {
    const { form, picture, model, original } = state;
    const modify = form.mode === "modify";
    for (const radio of modes()) set(radio, { checked: radio.value === form.mode, disabled: !picture });
    $("mode").hidden = !picture;
    $("strength-field").hidden = !state.live.on && (!picture || !modify);
    $("copy-note").hidden = !picture || modify;
    drawStrength(planned(state), reading(state));
    drawPresets(planned(state), store, model?.steps?.rounding);
    set($("reading"), { textContent: model ? reading(state) : "" });
    $("size-field").hidden = Boolean(picture);
    offer($("size"), sizesOf(model, original), form.size);
  };
}

const modes = () => document.getElementsByName("mode");

function drawStrength({ k, n }, ariaValueText) {
  const slider = $("strength");
  set(slider, { max: String(n) }); // before the value, which it bounds
  set(slider, { value: String(k), ariaValueText });
  slider.style.setProperty("--at", n > 1 ? `${(100 * (k - 1)) / (n - 1)}%` : "100%");
}

function drawPresets({ k, n }, store, rounding) {
  list($("presets"), PRESETS, makeButton, (button, [name, strength]) => {
    const steps = Math.max(1, stepsOf(strength, n, rounding));
    set(button, { textContent: name, onclick: () => store.changeForm({ strength }) });
    button.style.setProperty("--at", (steps - 1) / Math.max(1, n - 1));
    button.setAttribute("aria-pressed", String(steps === k));
  });
}
