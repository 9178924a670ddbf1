// The further settings, and the seed.

import { $, offer, set } from "../dom.js";

const NUMBERS = ["steps", "guidance", "n"];

export function more(store) {
  $("negative").addEventListener("input", ({ target }) => store.changeForm({ avoid: target.value }));
  $("sampler").addEventListener("change", ({ target }) => store.changeForm({ sampler: target.value }));
  for (const name of NUMBERS) {
    $(name).addEventListener("input", ({ target }) => {
      if (target.validity.valid) store.changeForm({ [name]: target.valueAsNumber });
    });
  }

  return ({ form, model, server, picture }) => {
    const copy = Boolean(picture) && form.mode === "copy";
    set($("negative"), { value: form.avoid });
    set($("steps"), { max: String(model?.steps?.maximum ?? 150), disabled: copy });
    set($("guidance"), { disabled: copy });
    set($("n"), { max: String(server?.limits?.n ?? 10) });
    for (const name of NUMBERS) {
      if (!beingTyped($(name))) set($(name), { value: String(form[name]) });
    }
    const samplers = (model?.samplers ?? ["default"]).map((name) => [name, name]);
    offer($("sampler"), samplers, form.sampler);
  };
}

function beingTyped(input) {
  return document.activeElement === input || (input.value !== "" && !input.validity.valid);
}

export function seed(store) {
  $("seed").addEventListener("input", ({ target }) => {
    const typed = target.value.trim();
    const exact = /^\d*$/.test(typed) && Number.isSafeInteger(Number(typed)); // no number holds more digits
    target.setCustomValidity(exact ? "" : `A seed is a whole number up to ${Number.MAX_SAFE_INTEGER}.`);
    store.changeForm({ seed: typed, locked: exact && typed !== "" });
  });
  $("lock").addEventListener("click", () => store.changeForm({ locked: !store.state.form.locked }));

  return ({ form }) => {
    const action = form.locked ? "Let the seed change each time" : "Keep this seed";
    set($("seed"), { value: form.seed });
    set($("lock"), {
      title: action,
      ariaLabel: action,
      ariaPressed: String(form.locked),
      disabled: form.seed === "",
    });
    $("lock")
      .querySelector("use")
      .setAttribute("href", form.locked ? "#i-lock" : "#i-unlock");
  };
}
