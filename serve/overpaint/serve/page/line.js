// A line to stand in: what is asked for happens one after the other.

/** Returns `inTurn(act, signal)`, which acts when all before it have; who is stopped leaves the line. */
export function createLine() {
  let last = Promise.resolve();
  return async function inTurn(act, signal) {
    const before = last;
    let leave;
    const here = new Promise((resolve) => {
      leave = resolve;
    });
    last = before.then(() => here);
    try {
      await Promise.race([before, stopped(signal)]);
      return await act();
    } finally {
      leave();
    }
  };
}

function stopped(signal) {
  return new Promise((_, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}
