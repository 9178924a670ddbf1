// The button that starts, its key, and what there is to say about it.

import { $, set } from "../dom.js";
import { maskOf } from "../mask.js";
import { paintedAgain } from "../request.js";

export function go(store, { repaint }) {
  $("controls").addEventListener("submit", (event) => {
    event.preventDefault();
    repaint();
  });
  $("run").addEventListener("click", (event) => {
    if (event.detail > 1) event.preventDefault(); // a double click asks for one picture, not for two
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    if (!event.repeat) repaint();
  });
  // Unfold what is wrong, so that the browser can point at it. The event does not bubble.
  $("controls").addEventListener("invalid", ({ target }) => unfold(target.closest("details")), true);
  $("take").addEventListener("click", () => {
    store.change(paintedAgain(store.state.notice.settings, store.state));
    $("run").focus(); // what was pressed is hidden now
  });
  $("dismiss").addEventListener("click", () => store.change({ notice: null }));

  return (state) => {
    const { model, picture, notice } = state;
    set($("run"), { disabled: !model });
    set($("run-text"), { textContent: !picture ? "Paint" : maskOf(state) ? "Repaint this part" : "Repaint" });
    set($("run-key"), { textContent: startKey() });
    $("notice").hidden = !notice;
    if (notice) $("notice").dataset.kind = notice.kind;
    $("take").hidden = !notice?.settings;
    set($("notice-text"), { textContent: notice?.text ?? "" });
  };
}

const startKey = () => (/Mac|iPhone|iPad/.test(navigator.platform) ? "⌘ ↵" : "Ctrl ↵");

function unfold(details) {
  if (details) details.open = true;
}
