// The strip of pictures: what can be repainted, and everything that was made.

import { $, element, list, makeButton, set, show } from "../dom.js";
import { describe } from "../results.js";

export function strip(store) {
  $("pick").addEventListener("click", () => $("file").click());
  $("words").addEventListener("click", () => store.change({ picture: null, shown: null }));

  return (state) => {
    const { picture, results, shown, job } = state;
    const disabled = Boolean(job);
    set($("pick"), { disabled });
    set($("words"), { disabled });
    $("words").setAttribute("aria-current", String(!picture && !shown));
    $("hint").hidden = results.length > 0;
    list($("sources"), sourcesOf(state), makeTile, (item, [source, name]) => {
      const [button, image, label] = item.querySelectorAll("*");
      button.setAttribute("aria-current", String(source === picture && !shown));
      const start = () => store.change({ picture: source, shown: null });
      set(button, { ariaLabel: `Start from the ${name}`, disabled, onclick: start });
      set(label, { className: "name", textContent: name });
      show(image, source.url);
    });
    list($("results"), results, makeTile, (item, result) => {
      const [button, image] = item.querySelectorAll("*");
      button.setAttribute("aria-current", String(result === shown));
      set(button, {
        title: `${result.prompt}\n${describe(result)}`,
        ariaLabel: `Show: ${result.asked.prompt}, seed ${result.seed}`,
        disabled,
        onclick: () => store.change({ shown: result, split: 0, revealing: false }),
      });
      show(image, result.url);
    });
  };
}

/** [picture, name] of what can be repainted: what a person brought, and a result in its place. */
function sourcesOf({ picture, original }) {
  const sources = original ? [[original, original.name ?? "original"]] : [];
  return picture && picture !== original ? [...sources, [picture, "input"]] : sources;
}

function makeTile() {
  const button = makeButton();
  button.append(element("img", { alt: "" }), element("span"));
  return element("li", {}, button);
}
