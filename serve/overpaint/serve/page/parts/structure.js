// "Keep its structure": what each control network is shown of the picture, and how much it counts.

import { $, element, list, offer, set } from "../dom.js";
import { controlsOf } from "../request.js";

const SHOWN = [
  ["", "no"],
  ["canny", "its edges"],
  ["tile", "all of it"],
];

export function structure(store) {
  const choose = (name, part) => {
    const { [name]: now, ...others } = store.state.form.control ?? {};
    const chosen = { scale: 1, ...now, ...part };
    store.changeForm({ control: chosen.preprocessor ? { ...others, [name]: chosen } : others });
  };

  return (state) => {
    const names = controlsOf(state);
    $("structure").hidden = names.length === 0;
    list($("structure-list"), names, makeRow, (row, name) => {
      const [words, select, range] = row.querySelectorAll("span, select, input");
      const chosen = state.form.control?.[name];
      set(words, { textContent: name });
      offer(select, SHOWN, chosen?.preprocessor ?? "");
      set(select, { ariaLabel: `What ${name} keeps` });
      const scale = chosen?.scale ?? 1;
      set(range, {
        hidden: !chosen,
        value: String(scale),
        ariaLabel: `How much ${name} counts`,
        ariaValueText: `${Math.round(scale * 100)} %`,
      });
      range.oninput = () => choose(name, { scale: range.valueAsNumber });
      select.onchange = () => choose(name, { preprocessor: select.value });
    });
  };
}

function makeRow() {
  const range = element("input", { type: "range", min: "0", max: "2", step: "0.05" });
  return element("li", {}, element("span"), element("select"), range);
}
