// What the result on the easel was made of, and what can be done with it.

import { $, element, list, set } from "../dom.js";
import { formOf } from "../request.js";
import { describe } from "../results.js";
import { onEasel } from "../state.js";

const TAKEN =
  "Its picture, words, settings and seed are in the form; the seed is kept until you unlock it.";

export function result(store, { repaint }) {
  const shown = () => onEasel(store.state).result;
  $("again").addEventListener("click", () => repaint({ newSeed: true }));
  $("use").addEventListener("click", () => {
    const { key, blob, url, width, height } = shown();
    store.change({ picture: { key, blob, url, width, height }, at: null });
    $("prompt").focus();
  });
  $("settings").addEventListener("click", () => {
    const { form } = store.state;
    const { from, mask: ops } = shown();
    const mask = { on: Boolean(ops), of: from?.key, ops: ops ?? [] };
    const notice = { kind: "note", text: TAKEN };
    store.change({ form: { ...form, ...formOf(shown(), form) }, picture: from, mask, notice });
  });
  $("sheet-again").addEventListener("click", () => {
    store.change({ at: shown().job });
    $("sheet").querySelector("button").focus();
  });
  $("full").addEventListener("click", () =>
    document.fullscreenElement ? document.exitFullscreen() : $("stage").requestFullscreen(),
  );
  $("remove").addEventListener("click", () => {
    const { key } = shown();
    store.change({ at: null, results: store.state.results.filter((one) => one.key !== key) });
    $("prompt").focus();
  });

  return (state) => {
    const { result: one, sheet } = onEasel(state);
    const made = one ?? sheet?.[0];
    $("result").hidden = !made;
    if (!made) return;
    $("tools").hidden = !one;
    const together = state.results.filter(({ job }) => job === made.job).length;
    $("sheet-again").hidden = together < 2;
    set($("sheet-count"), { textContent: `All ${together}` });
    set($("download"), { href: made.url, download: `overpaint-${made.seed}.png` });
    const told = one ? describe(one) : `${together} pictures. Choose one.`;
    $("made-of").replaceChildren(element("b", { textContent: made.prompt }), told);
    const make = () => element("li");
    list($("warnings"), made.warnings, make, (item, text) => set(item, { textContent: text }));
  };
}
