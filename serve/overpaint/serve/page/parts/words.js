// The prompt, ideas for it, and the words that are added to it.

import { $, element, list, makeButton, set } from "../dom.js";
import { IDEAS } from "../state.js";

export function words(store) {
  $("prompt").addEventListener("input", ({ target }) => store.changeForm({ prompt: target.value }));

  return ({ form, picture, server }) => {
    set($("prompt-label"), { textContent: picture ? "What should it become?" : "What should be painted?" });
    set($("prompt"), { value: form.prompt, maxLength: server?.limits?.prompt_characters ?? 10000 });
    const others = IDEAS.filter((idea) => idea !== form.prompt);
    list($("ideas"), others, makeButton, (button, idea) => {
      set(button, { textContent: idea, onclick: () => store.changeForm({ prompt: idea }) });
    });
  };
}

export function styles(store) {
  const edit = (index, part) => {
    const rows = store.state.form.styles.map((row, i) => (i === index ? { ...row, ...part } : row));
    store.changeForm({ styles: rows });
  };

  return ({ form, picture }) => {
    $("styles").hidden = !picture || form.mode !== "modify" || form.styles.length === 0;
    list($("style-rows"), form.styles, makeRow, (row, style, i) => {
      const [box, name, text] = row.querySelectorAll("input, span");
      row.classList.toggle("on", style.on);
      set(box, { checked: style.on, onchange: () => edit(i, { on: box.checked }) });
      set(name, { textContent: style.name });
      set(text, {
        value: style.words,
        ariaLabel: `Words for ${style.name}`,
        disabled: !style.on,
        oninput: () => edit(i, { words: text.value }),
      });
    });
  };
}

function makeRow() {
  const label = element("label", {}, element("input", { type: "checkbox" }), element("span"));
  return element(
    "tr",
    {},
    element("th", { scope: "row" }, label),
    element("td", {}, element("input", { type: "text", maxLength: 200 })),
  );
}
