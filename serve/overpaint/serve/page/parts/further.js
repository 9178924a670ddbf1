// The further settings that the server's schema describes, each with a control that fits it.

import { $, element, offer, set } from "../dom.js";
import { inWords } from "../fields.js";
import { isOfMask, maskOf } from "../mask.js";

export function further(store) {
  const choose = ({ name, fallback }, value) => {
    const { [name]: _, ...others } = store.state.form.further;
    store.changeForm({ further: value === null || value === fallback ? others : { ...others, [name]: value } });
  };

  return (state) => {
    const { fields, form } = state;
    const masked = Boolean(maskOf(state));
    if (fields.length !== $("further").children.length) {
      $("further").replaceChildren(...fields.map((field) => row(field, (value) => choose(field, value))));
    }
    for (const [i, field] of fields.entries()) {
      const control = $("further").children[i].querySelector("input, select");
      $("further").children[i].hidden = isOfMask(field.name) && !masked;
      const value = form.further[field.name] ?? field.fallback;
      if (field.toggle) set(control, { checked: Boolean(value) });
      else if (document.activeElement !== control) set(control, { value: value === null ? "" : String(value) });
    }
  };
}

function row(field, choose) {
  const id = `further-${field.name}`;
  const words = element("span", { textContent: inWords(field.name) });
  const label = element("label", { title: field.help }, words);
  if (field.toggle) {
    const box = element("input", { id, type: "checkbox", onchange: () => choose(box.checked) });
    label.className = "toggle";
    label.prepend(box);
  } else if (field.choices) {
    const select = element("select", { id, onchange: () => choose(select.value || null) });
    const usual = field.fallback === null ? [["", "as usual"]] : [];
    offer(select, [...usual, ...field.choices.map((choice) => [choice, choice])]);
    label.append(select);
  } else {
    const input = element("input", { id, type: "number", placeholder: "as usual", inputMode: "decimal" });
    for (const [name, bound] of Object.entries(field.number)) if (bound != null) input[name] = bound;
    input.oninput = () => input.validity.valid && choose(input.value === "" ? null : input.valueAsNumber);
    label.append(input);
  }
  return label;
}
