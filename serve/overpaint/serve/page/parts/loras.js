// LoRAs, a slider each. Once something was painted, letting one go paints it again with the same seed.

import { $, element, list, set } from "../dom.js";

const MOST = 2;
const STEP = 0.05;

export function loras(store, runner) {
  const turn = (name, weight) => {
    const { [name]: _, ...others } = store.state.form.loras;
    store.changeForm({ loras: weight === 0 ? others : { ...others, [name]: weight } });
  };
  const again = () => {
    const { form, results, model, live } = store.state;
    if (live.on || results.length === 0 || form.seed === "" || !model) return;
    store.changeForm({ locked: true });
    runner.repaint();
  };

  return ({ form, model }) => {
    const names = model?.loras ?? [];
    $("loras").hidden = names.length === 0;
    list($("lora-rows"), names, makeRow, (row, name) => {
      const [words, slider] = row.querySelectorAll("span, input");
      const weight = form.loras[name] ?? 0;
      set(words, { textContent: name });
      set(slider, {
        value: String(weight),
        oninput: () => turn(name, slider.valueAsNumber),
        onchange: again,
        ondblclick: () => turn(name, 0),
      });
      set(row.querySelector("output"), { value: weight.toFixed(2) });
    });
  };
}

function makeRow() {
  const slider = element("input", { type: "range", min: String(-MOST), max: String(MOST), step: String(STEP) });
  return element("label", {}, element("span"), slider, element("output"));
}
