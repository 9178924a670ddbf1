// "Repaint a part": what the brush is like, and what can be done with what was painted.

import { $, set } from "../dom.js";
import { isPainted, opsOver } from "../mask.js";
import { say } from "../messages.js";
import { isBare } from "../state.js";

const FINER = 1 / 1.25;

export function masking(store) {
  const showing = () => isBare(store.state) && store.state.mask.on;
  const change = (ops) => store.change({ mask: { on: true, of: store.state.picture.key, ops } });
  const then = (kind) => () => change([...opsOver(store.state), { kind }]);
  const undo = () => change(opsOver(store.state).slice(0, -1));
  const take = (tool) => {
    store.change({ tool });
    say(tool === "eraser" ? "Eraser." : "Brush.");
  };
  const other = () => take(store.state.tool === "brush" ? "eraser" : "brush");
  const resize = (by) => {
    const { min, max } = $("brush-size");
    const size = (by > 1 ? Math.ceil : Math.floor)(store.state.form.brush * by);
    store.changeForm({ brush: Math.min(Number(max), Math.max(Number(min), size)) });
  };

  $("part").addEventListener("click", () => {
    const { mask } = store.state;
    store.change({ mask: { ...mask, on: !mask.on } });
  });
  $("eraser").addEventListener("click", other);
  $("brush-size").addEventListener("input", ({ target }) => store.changeForm({ brush: Number(target.value) }));
  $("feather").addEventListener("input", ({ target }) => store.changeForm({ feather: Number(target.value) }));
  $("undo").addEventListener("click", undo);
  $("invert").addEventListener("click", then("invert"));
  $("clear").addEventListener("click", then("clear"));

  const keys = { "[": () => resize(FINER), "]": () => resize(1 / FINER), e: other };
  document.addEventListener("keydown", (event) => {
    const { key, ctrlKey, metaKey, shiftKey, altKey, target } = event;
    if (!showing() || target.closest(TYPED)) return;
    const command = (ctrlKey || metaKey) && !altKey; // both are AltGr, which brackets may need
    const act = command ? key === "z" && !shiftKey && undo : keys[key];
    if (!act) return;
    event.preventDefault();
    act();
  });

  return (state) => {
    const { mask, form, tool } = state;
    const ops = opsOver(state);
    $("masking").hidden = !isBare(state);
    $("part").setAttribute("aria-pressed", String(mask.on));
    $("brushes").hidden = !mask.on;
    $("eraser").setAttribute("aria-pressed", String(tool === "eraser"));
    set($("brush-size"), { value: String(form.brush), ariaValueText: `${form.brush} %` });
    set($("feather"), { value: String(form.feather), ariaValueText: `${form.feather} pixels` });
    set($("undo"), { disabled: ops.length === 0 });
    set($("clear"), { disabled: !isPainted(ops) });
    $("mask-note").hidden = !mask.on || isPainted(ops);
  };
}

const TYPED = "textarea, select, dialog, input:not([type=range], [type=checkbox], [type=radio])";
