// "Repaint a part": what the brush is like, and what can be done with what was painted.

import { $, set } from "../dom.js";
import { isPainted, opsOver } from "../mask.js";
import { isBare } from "../state.js";
import { brushKeys, otherTool } from "./brush_keys.js";

export function masking(store) {
  const showing = () => isBare(store.state) && store.state.mask.on;
  const change = (ops) => store.change({ mask: { on: true, of: store.state.picture.key, ops } });
  const then = (kind) => () => change([...opsOver(store.state), { kind }]);
  const undo = () => change(opsOver(store.state).slice(0, -1));

  $("part").addEventListener("click", () => {
    const { mask } = store.state;
    store.change({ mask: { ...mask, on: !mask.on } });
  });
  $("eraser").addEventListener("click", () => otherTool(store));
  $("brush-size").addEventListener("input", ({ target }) => store.changeForm({ brush: Number(target.value) }));
  $("feather").addEventListener("input", ({ target }) => store.changeForm({ feather: Number(target.value) }));
  $("undo").addEventListener("click", undo);
  $("invert").addEventListener("click", then("invert"));
  $("clear").addEventListener("click", then("clear"));

  brushKeys(store, showing, undo);

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
