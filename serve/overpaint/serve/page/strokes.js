// Strokes on a canvas: with a mouse, a pen, a finger, or the keys.

/**
 * `sheet()` is {width, height} in whose units a stroke's `size` and `points` are; `begin()` gives a stroke to
 * fill; `add(piece)` is told each further bit of it, and `end(stroke)` all of it. Arrow keys move the brush by
 * half its size, and Space puts it down and lifts it. Returns how to give up the stroke that is being drawn.
 */
export function strokes(canvas, ring, { sheet, begin, add, end }) {
  let stroke = null; // that is being drawn,
  let pointer = null; // and with what: further fingers draw nothing
  let at = null; // where the keys have the brush

  canvas.addEventListener("pointerdown", (event) => {
    if (stroke || event.button !== 0) return;
    pointer = event.pointerId;
    canvas.setPointerCapture(pointer);
    stroke = begin();
    to(placeOf(event));
  });
  canvas.addEventListener("pointermove", (event) => {
    drawRing(placeOf(event));
    if (!stroke || event.pointerId !== pointer) return;
    const passed = event.getCoalescedEvents(); // several, where the hand was faster than the screen
    for (const one of passed.length > 0 ? passed : [event]) to(placeOf(one));
  });
  for (const type of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(type, ({ pointerId }) => stroke && pointerId === pointer && lift());
  }
  canvas.addEventListener("pointerenter", (event) => drawRing(placeOf(event)));
  canvas.addEventListener("pointerleave", () => (ring.hidden = true));

  canvas.addEventListener("keydown", (event) => {
    const [dx, dy] = ARROWS[event.key] ?? [0, 0];
    if (event.ctrlKey || event.metaKey || event.altKey || !(dx || dy || event.key === " ")) return;
    event.preventDefault();
    const { width, height } = sheet();
    const by = begin().size / 2;
    const [x, y] = at ?? [width / 2, height / 2];
    at = [Math.max(0, Math.min(width, x + dx * by)), Math.max(0, Math.min(height, y + dy * by))];
    drawRing(at);
    if (event.key !== " ") return stroke && pointer === KEYS && to(at);
    if (event.repeat || (stroke && pointer !== KEYS)) return;
    if (stroke) return lift();
    pointer = KEYS;
    stroke = begin();
    to(at);
  });
  canvas.addEventListener("blur", () => {
    ring.hidden = true;
    if (stroke && pointer === KEYS) lift();
  });

  function placeOf({ clientX, clientY }) {
    const { left, top, width, height } = canvas.getBoundingClientRect();
    const all = sheet();
    return [((clientX - left) / width) * all.width, ((clientY - top) / height) * all.height];
  }

  function to(place) {
    const last = stroke.points.slice(-2);
    stroke.points.push(...place.map((one) => Math.round(10 * one) / 10));
    add({ ...stroke, points: [...last, ...stroke.points.slice(-2)] });
  }

  function lift() {
    const drawn = stroke;
    stroke = null;
    end(drawn);
  }

  function drawRing([x, y]) {
    const { width, height } = sheet();
    ring.hidden = false;
    ring.style.setProperty("--x", `${(100 * x) / width}%`);
    ring.style.setProperty("--y", `${(100 * y) / height}%`);
  }

  return () => (stroke = null);
}

const KEYS = "keys";
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
