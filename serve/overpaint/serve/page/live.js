// Live: what is drawn goes up as it changes, over one WebSocket, and comes back repainted.
//
// So many frames are under way and no more; what changes meanwhile goes up with the next one. A connection that
// ends is made again, after a moment, or, where it ended for want of anything to do, with the next change.

const AHEAD = 2; // one is being repainted, and the next is there as it is done
const IDLE = 4408;
const REFUSED = [4429, 4503];
const AGAIN = 3000; // milliseconds after which somebody may have left

/**
 * {begin, end, touch}. `asked()` is the first message, of which prompt, strength and lora may change; `take()` promises
 * the frame as a blob; `show(blob, picture)` has what became of it, and `tell(phase, words)` how the connection is:
 * connecting, live, idle, refused, lost, or error.
 */
export function createLive(api, { asked, take, show, tell }) {
  let socket = null; // while there is a connection, or one is being made
  let ready = false; // once the server has said so
  let again = 0; // the timer of the next try
  let tries = 0;
  let changed = false; // since the last frame
  let taking = false;
  let sent, answered, picture, reason;
  let told; // of what may change, as it was sent

  function connect() {
    const here = api.live();
    const first = asked();
    told = changing(first);
    [socket, sent, answered, reason, again] = [here, 0, 0, "", 0];
    tell("connecting");
    here.onopen = () => here.send(JSON.stringify(first));
    here.onmessage = ({ data }) => here === socket && hear(data);
    here.onclose = ({ code }) => here === socket && lost(code);
  }

  function hear(data) {
    if (typeof data !== "string") return show(data, picture);
    const message = JSON.parse(data);
    if (message.type === "ready") [ready, tries] = [true, 0];
    if (message.type === "ready") tell("live");
    if (message.type === "picture") picture = message;
    if (message.type === "error") reason = message.message;
    if (message.type === "error") tell("error", reason);
    answered = message.frame ?? answered;
    pump();
  }

  function lost(code) {
    [socket, ready, changed] = [null, false, true];
    if (code === IDLE) return tell("idle");
    const refused = REFUSED.includes(code);
    tell(refused ? "refused" : "lost", reason);
    again = setTimeout(connect, refused ? AGAIN : Math.min(4000, 300 * 2 ** tries++));
  }

  async function pump() {
    if (!ready || !changed || taking || sent - answered >= AHEAD) return;
    const here = socket;
    [taking, changed] = [true, false];
    const frame = await (await take()).arrayBuffer();
    taking = false;
    if (here !== socket) return touch();
    const change = changing(asked());
    if (change !== told) here.send(change);
    told = change;
    here.send(frame);
    sent += 1;
    pump();
  }

  let on = false;
  function touch() {
    changed = true;
    if (on && !socket && !again) connect();
    else pump();
  }

  return {
    touch,
    begin() {
      on = true;
      touch();
    },
    end() {
      on = false;
      clearTimeout(again);
      socket?.close();
      [socket, ready, again] = [null, false, 0];
    },
  };
}

/** What of a message may change later, as it is sent. */
const changing = ({ prompt, strength, lora }) => JSON.stringify({ prompt, strength, lora });
