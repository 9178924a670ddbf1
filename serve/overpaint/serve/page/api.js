// The server's native API, as far as the page speaks it. Nothing here knows the page.

const CLIENT = "X-Overpaint-Client";

/** What went wrong. `status` is HTTP's; 0 where the server did not answer, -1 where a job failed. */
export class Problem extends Error {
  constructor(status, error = {}, retryAfter = 0) {
    super(error.message ?? "");
    Object.assign(this, { status, code: error.code ?? "", id: error.id, retryAfter });
  }
}

/** `access` has the token: `token()` is the one at hand, `ask()` returns once there is another. */
export function createApi(access) {
  async function call(path, options = {}) {
    const token = access.token();
    const headers = { ...options.headers, ...(token && { Authorization: `Bearer ${token}` }) };
    const answer = await fetch(path, { ...options, headers }).catch(away);
    if (answer.ok) return answer;
    const { error } = await answer.json().catch(() => ({}));
    if (answer.status === 401) return access.ask().then(() => call(path, options));
    throw new Problem(answer.status, error, Number(answer.headers.get("Retry-After")));
  }

  /** The answer's body as `kind`, json or blob. A connection may also end in the middle of it. */
  const read = async (kind, path, options) => (await call(path, options))[kind]().catch(away);

  const socket = (path) =>
    new WebSocket(location.origin.replace(/^http/, "ws") + path, protocols(access.token()));

  return {
    capabilities: () => read("json", "/v1/capabilities"),
    schema: () => read("json", "/openapi.json"),
    example: () => read("blob", "/page/example.png"),
    job: (id, signal) => read("json", `/v1/jobs/${id}`, { signal }),
    media: (id, signal) => read("blob", `/v1/media/${id}.png`, { signal }),
    cancel: (id) => call(`/v1/jobs/${id}`, { method: "DELETE" }),

    /** The jobs that were handed in under the name `client`. */
    jobsOf: (client) => read("json", "/v1/jobs", { headers: { [CLIENT]: client } }),

    /** Not to be aborted: a job that is there must be known, to be cancelled. */
    submit(request, client) {
      const headers = { "Content-Type": "application/json", [CLIENT]: client };
      return read("json", "/v1/jobs", { method: "POST", body: JSON.stringify(request), headers });
    },

    /** What AUTOMATIC1111's lines say, as JSON that is not parsed: seeds may be too large for that. */
    infotext(text) {
      const headers = { "Content-Type": "application/json" };
      return read("text", "/v1/infotext", { method: "POST", body: JSON.stringify({ text }), headers });
    },

    upload(blob, signal) {
      const form = new FormData();
      form.append("file", blob, "picture");
      return read("json", "/v1/uploads", { method: "POST", body: form, signal });
    },

    /** The connection of a live session. */
    live: () => socket("/v1/live"),

    /** Hear the events of a job after number `after`, until the connection ends. */
    events(id, after, hear, signal) {
      return new Promise((resolve, reject) => {
        const heard = socket(`/v1/jobs/${id}/events?after=${after}`);
        const leave = () => {
          heard.close();
          reject(signal.reason);
        };
        heard.onmessage = ({ data }) => hear(JSON.parse(data));
        heard.onclose = () => {
          signal.removeEventListener("abort", leave);
          resolve();
        };
        signal.addEventListener("abort", leave);
      });
    },
  };
}

function away(error) {
  throw error.name === "AbortError" ? error : new Problem(0);
}

/** A browser can send a token with a WebSocket in no other way: `bearer.` and unpadded base64url. */
function protocols(token) {
  const known = ["overpaint.v1"];
  if (!token) return known;
  return [...known, `bearer.${btoa(token).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "")}`];
}
