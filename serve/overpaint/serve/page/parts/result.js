// What the result on the easel was made of, and what can be done with it.

import { $, element, list, set } from "../dom.js";
import { formOf } from "../request.js";
import { describe } from "../results.js";

const TAKEN =
  "Its picture, words, settings and seed are in the form; the seed is kept until you unlock it.";

export function result(store, { repaint }) {
  $("again").addEventListener("click", () => repaint({ newSeed: true }));
  $("use").addEventListener("click", () => {
    const { blob, url, width, height } = store.state.shown;
    store.change({ picture: { blob, url, width, height }, shown: null });
    $("prompt").focus();
  });
  $("settings").addEventListener("click", () => {
    const { shown, form } = store.state;
    const notice = { kind: "note", text: TAKEN };
    store.change({ form: { ...form, ...formOf(shown, form) }, picture: shown.from, notice });
  });
  $("full").addEventListener("click", () =>
    document.fullscreenElement ? document.exitFullscreen() : $("stage").requestFullscreen(),
  );

  return ({ shown }) => {
    $("result").hidden = !shown;
    if (!shown) return;
    set($("download"), { href: shown.url, download: `overpaint-${shown.seed}.png` });
    $("made-of").replaceChildren(element("b", { textContent: shown.prompt }), describe(shown));
    const make = () => element("li");
    list($("warnings"), shown.warnings, make, (item, text) => set(item, { textContent: text }));
  };
}
