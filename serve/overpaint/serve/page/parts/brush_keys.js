// The brush by keys, wherever one is: [ and ] change its size, E takes the eraser, Ctrl Z takes back.

import { $ } from "../dom.js";
import { say } from "../messages.js";

const FINER = 1 / 1.25;
const TYPED = "textarea, select, dialog, input:not([type=range], [type=checkbox], [type=radio])";

/** Listen while `showing()`. */
export function brushKeys(store, showing, undo) {
  const resize = (by) => {
    const { min, max } = $("brush-size");
    const size = (by > 1 ? Math.ceil : Math.floor)(store.state.form.brush * by);
    store.changeForm({ brush: Math.min(Number(max), Math.max(Number(min), size)) });
  };
  const keys = { "[": () => resize(FINER), "]": () => resize(1 / FINER), e: () => otherTool(store) };

  document.addEventListener("keydown", (event) => {
    const { key, ctrlKey, metaKey, shiftKey, altKey, target } = event;
    if (!showing() || target.closest(TYPED)) return;
    const command = (ctrlKey || metaKey) && !altKey; // both are AltGr, which brackets may need
    const act = command ? key === "z" && !shiftKey && undo : keys[key];
    if (!act) return;
    event.preventDefault();
    act();
  });
}

/** Brush or eraser, whichever is not in hand. */
export function otherTool(store) {
  const tool = store.state.tool === "brush" ? "eraser" : "brush";
  store.change({ tool });
  say(tool === "eraser" ? "Eraser." : "Brush.");
}
